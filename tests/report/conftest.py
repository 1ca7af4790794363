import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detr_diff.report.report import write_report
from tests.report.material import NAMES, boxes_of, results, write_pairs

CHROMIUM = shutil.which("chromium")
TEN_PAIRS = sorted(
    json.loads((Path(__file__).parents[1] / "evaluation/ten_pairs.json").read_text()),
    key=lambda one: one["pair"],
)


@pytest.fixture(scope="session")
def report_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the ten pairs whose errors were counted by hand."""
    root, out = tmp_path_factory.mktemp("ten"), tmp_path_factory.mktemp("out")
    write_pairs(root, [one["pair"] for one in TEN_PAIRS], NAMES)
    predictions, truths = zip(*(boxes_of(one) for one in TEN_PAIRS), strict=True)
    rows = [
        f"shift,{level},{way},{0.9 - level / 10},0.5,0.6,10" for way in ("none", "phase") for level in (0, 2)
    ]
    lines = ["disturbance,level,registration,map_50,map,f1,pairs", *rows, "swap,after,<b>,nan,,0.25,10"]
    (out / "robustness.csv").write_text("\n".join(lines) + "\n")
    subject = {"evaluation": "<img src=x onerror=alert(2)>", "pairs": "10"}
    write_report(out, results(root, NAMES, predictions, truths, 0.4), subject)
    return out / "report"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on the path: the report is not tested in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """A page, and what it said and asked for that it should not have."""

    def __init__(self, context: Any, path: Path, clock: bool = False) -> None:
        """With a clock of its own, time stands still but for `page.clock.run_for`."""
        self.trouble: list[str] = []
        self.page = context.new_page()
        if clock:
            self.page.clock.install(time=0)
        self.page.on("console", lambda message: self.trouble.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.trouble.append("a dialog opened"), dialog.dismiss()))
        self.page.on("request", lambda request: self._asked(request.url, path))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready=yes]")
        if clock:
            self.page.clock.pause_at(3_600_000)

    def _asked(self, url: str, path: Path) -> None:
        if url != path.as_uri() and not url.startswith("data:"):
            self.trouble.append(f"asked for {url}")

    def cards(self) -> list[str]:
        """Name and words of each card, of all that pass the filters."""
        while self.page.locator("#more").is_visible():
            self.page.locator("#more").click()
        words = "['h3', '.words'].map((part) => one.querySelector(part).textContent).join()"
        script = f"(cards) => cards.map((one) => {words})"
        return self.page.locator("#gallery li").evaluate_all(script)

    def boxes(self, look: str) -> int:
        """How many boxes of that look are drawn on the cards."""
        nodes = self.page.locator(f"#gallery .box.{look}")
        return nodes.evaluate_all("(all) => all.reduce((sum, one) => sum + Number(one.dataset.boxes), 0)")

    def choose(self, view: str) -> None:
        self.page.locator(f"input[name=view][value={view}]").check()

    def threshold(self, score: float) -> None:
        script = "(s, k) => { s.value = k; s.dispatchEvent(new Event('input')); }"
        self.page.locator("#score").evaluate(script, round((score - 0.05) * 100))
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )


@pytest.fixture
def opened(browser: Any, report_dir: Path) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="no-preference")
    page = Opened(context, report_dir / "index.html")
    yield page
    assert page.trouble == []
    context.close()
