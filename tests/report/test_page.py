"""The page in a real browser. Every test also holds that nothing is asked for and nothing complains."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from detr_diff.evaluation.error_parts import KINDS
from detr_diff.report.report import write_report
from tests.evaluation.naive import naive
from tests.evaluation.test_error_parts import COUNTED
from tests.report.conftest import TEN_PAIRS, Opened
from tests.report.material import NAMES, boxes_of, results, write_pairs


def numbers(opened: Opened) -> dict[str, float]:
    keys = ("precision", "recall", "f1", "right", "wrong", "lost")
    return {key: float(opened.page.locator(f"#{key}").text_content()) for key in keys}


@pytest.mark.parametrize(("score", "iou"), [(0.4, 0.5), (0.7, 0.5), (0.05, 0.75), (0.95, 0.5)])
def test_the_slider_moves_the_numbers(opened: Opened, score: float, iou: float) -> None:
    predictions, truths = zip(*(boxes_of(one) for one in TEN_PAIRS), strict=True)
    hits, made, objects = naive(predictions, truths, iou, score)
    opened.page.locator("#iou").select_option(label=f"{iou:.2f}")
    opened.threshold(score)
    shown = numbers(opened)
    assert (shown["right"], shown["wrong"], shown["lost"]) == (hits, made - hits, objects - hits)
    assert shown["precision"] == pytest.approx(hits / max(made, 1), abs=6e-4)
    assert shown["recall"] == pytest.approx(hits / objects, abs=6e-4)
    opened.page.wait_for_timeout(100)  # the gallery follows in the next frame
    assert ("at IoU 0.50, whatever" in opened.page.locator("#status").text_content()) == (iou != 0.5)
    row = opened.page.locator("#class-rates tbody tr").first.text_content()
    assert f"{2 * hits / (made + objects):.3f}" in row
    assert f"precision {shown['precision']:.3f}" in opened.page.locator("#score").get_attribute(
        "aria-valuetext"
    )


def test_the_slider_moves_the_boxes_and_keys_move_the_slider(opened: Opened) -> None:
    page = opened.page
    opened.choose("all")
    drawn = []
    for score in (0.4, 0.75):
        opened.threshold(score)
        predicted = opened.boxes("right") + opened.boxes("wrong")
        assert predicted == sum(s >= score for one in TEN_PAIRS for s in one["scores"])
        drawn.append(predicted)
    assert drawn[0] > drawn[1] > 0
    assert opened.boxes("truth") == sum(len(one["object_labels"]) for one in TEN_PAIRS)
    page.locator("#score").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#score-value").text_content() == "0.74"
    page.locator("#show-predictions").uncheck()
    assert opened.boxes("right") + opened.boxes("wrong") == 0
    page.locator("#reset").click()
    assert page.locator("#score-value").text_content() == "0.40"


def test_errors_and_galleries_agree_with_the_hand_count(opened: Opened) -> None:
    """COUNTED was counted by eye, each pair at a score threshold of its own."""
    for threshold in sorted({one["threshold"] for one in TEN_PAIRS}):
        opened.threshold(threshold)
        here = [one["pair"] for one in TEN_PAIRS if one["threshold"] == threshold]
        opened.choose("wrong")
        wrong = opened.cards()
        opened.choose("lost")
        lost = opened.cards()
        opened.choose("all")
        whole = opened.cards()
        for pair in here:
            objects, found, *kinds = COUNTED[pair]
            told = Counter(re.search(r": (\w+)scene", card)[1] for card in wrong if pair in card)
            assert [told[kind] for kind in KINDS[:-1]] == kinds[:-1], pair
            own = [card for card in lost if pair in card]
            assert len(own) == objects - found
            assert sum("missed" in card for card in own) == kinds[-1]
            (card,) = (card for card in whole if pair in card)
            assert (
                f"{objects} object{'' if objects == 1 else 's'}, {found} found; {sum(kinds[:-1])} wrong"
                in card
            )
        total = {one["pair"]: one for one in TEN_PAIRS}
        assert len(whole) == len(total)
    # The table counts all ten pairs at one threshold; so do the cards.
    opened.threshold(0.4)
    opened.choose("wrong")
    told = Counter(re.search(r": (\w+)scene", card)[1] for card in opened.cards())
    rows = opened.page.locator("#error-parts tbody tr")
    for kind, row in zip(KINDS[:-1], rows.all(), strict=False):
        assert int(row.locator(".number").first.text_content()) == told[kind]


def test_best_and_worst_part_the_pairs(opened: Opened) -> None:
    opened.choose("best")
    best = opened.cards()
    opened.choose("worst")
    worst = opened.cards()
    assert len(best) + len(worst) == 10
    assert all(re.search(r"(\d+) objects?, \1 found; 0 wrong", card) for card in best)
    assert not any(re.search(r"(\d+) objects?, \1 found; 0 wrong", card) for card in worst)
    assert "10" not in opened.page.locator("#status").text_content()


def test_filters_and_order(opened: Opened) -> None:
    page = opened.page
    opened.choose("all")
    names = page.locator("#gallery h3").all_text_contents()
    assert names == sorted(one["pair"] for one in TEN_PAIRS)
    page.locator("#scene").select_option("scene_0062")
    assert all(name.startswith("scene_0062") for name in page.locator("#gallery h3").all_text_contents())
    assert page.locator("#gallery li").count() == 3
    page.locator("#scene").select_option("")
    opened.choose("wrong")
    scores = [float(re.search(r"(\d\.\d\d): ", card)[1]) for card in opened.cards()]
    assert scores == sorted(scores, reverse=True)
    page.locator("#class").select_option(label="bicycle")
    assert all("bicycle" in card for card in opened.cards())
    assert 0 < len(opened.cards()) < len(scores)
    page.locator("#kind").select_option(label="duplicate")
    assert all("duplicate" in card for card in opened.cards())
    page.locator("#class").select_option("")
    page.locator("#kind").select_option("")
    opened.choose("lost")
    every = len(opened.cards())
    parts = []
    for third in range(3):
        page.locator("#size").select_option(str(third))
        parts.append(len(opened.cards()))
    assert sum(parts) == every
    assert max(parts) < every
    page.locator("#size").select_option("")
    opened.choose("worst")
    page.locator("#order").select_option("found")
    found = [int(re.search(r"(\d+) found", card)[1]) for card in opened.cards()]
    assert found == sorted(found, reverse=True)


FRAME = "document.body.dataset.frame"
SEEN = "getComputedStyle(document.querySelector('#gallery .frame.{}')).visibility"


def test_frames_blink_until_they_are_stopped(browser: Any, report_dir: Path) -> None:
    context = browser.new_context(reduced_motion="no-preference")
    opened = Opened(context, report_dir / "index.html", clock=True)
    page, button = opened.page, opened.page.locator("#frame-controls button.blink")
    assert (page.evaluate(FRAME), page.evaluate(SEEN.format("diff"))) == ("diff", "visible")
    page.keyboard.press("b")
    assert button.get_attribute("aria-pressed") == "true"
    for name in ("before", "after", "before", "after"):
        assert page.evaluate(FRAME) == name
        assert page.evaluate(SEEN.format(name)) == "visible"
        assert page.evaluate(SEEN.format("diff")) == "hidden"
        page.clock.run_for(500)
    for stop in (button.click, lambda: page.keyboard.press("Escape")):
        stop()
        stopped = page.evaluate(FRAME)
        assert button.get_attribute("aria-pressed") == "false"
        page.clock.run_for(2000)
        assert (page.evaluate(FRAME), button.get_attribute("aria-pressed")) == (stopped, "false")
        page.keyboard.press("b")
    page.keyboard.press("b")
    page.locator("#frame-controls input[value=diff]").check()
    assert page.evaluate(SEEN.format("diff")) == "visible"
    assert opened.trouble == []
    context.close()


def test_who_wants_no_motion_turns_frames_by_hand(browser: Any, report_dir: Path) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = Opened(context, report_dir / "index.html", clock=True).page
    button = page.locator("#frame-controls button.blink")
    for name in ("before", "after"):
        button.click()
        assert page.evaluate(FRAME) == name
        page.clock.run_for(2000)
        assert page.evaluate(FRAME) == name
    context.close()


def test_the_large_view_works_by_keys(opened: Opened) -> None:
    page = opened.page
    opened.choose("all")
    names = page.locator("#gallery h3").all_text_contents()
    page.locator("#gallery button.open").first.focus()
    page.keyboard.press("Enter")
    title = page.locator("#viewer-title")
    assert (page.locator("#viewer").is_visible(), title.text_content()) == (True, names[0])
    assert page.locator("#viewer .frames figure").count() == 3
    page.locator("#viewer button.close").focus()
    page.keyboard.press("ArrowRight")
    assert title.text_content() == names[1]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert title.text_content() == names[-1]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert page.evaluate("document.activeElement.className") == "open"


def test_names_from_the_data_stay_text(opened: Opened) -> None:
    page = opened.page
    text = page.locator("main").inner_text()
    for name in NAMES:
        assert name in text
    assert page.locator("h1").text_content() == "<img src=x onerror=alert(2)>"
    assert page.locator("h1 *").count() == 0
    assert page.locator("main script").count() == 0
    assert "<b>" in page.locator("#robustness").inner_text()


def test_it_can_be_used_without_seeing_it(opened: Opened) -> None:
    page = opened.page
    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert page.locator(landmark).count() == 1
    unnamed = """() => [
            ...document.querySelectorAll("svg[role=img], section, [role=region], button, input, select"),
        ].filter((one) => !(
            one.getAttribute("aria-label") || one.getAttribute("aria-labelledby") || one.labels?.length
            || (one.tagName === "BUTTON" && (one.textContent.trim() || one.querySelector("[aria-label]")))
        )).map((one) => one.outerHTML.slice(0, 120))"""
    assert page.evaluate(unnamed) == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    # What a chart shows can be read.
    details = page.locator("#threshold-charts details").first
    details.locator("summary").click()
    details.locator("tbody tr").nth(20).wait_for()  # it is made when the browser says that it is open
    page.locator("#heat-map details summary").click()
    rows = page.locator("#heat-map tbody tr")
    rows.nth(9).wait_for()
    assert rows.count() == 10


def test_a_click_on_the_heat_map_chooses_both_thresholds(opened: Opened) -> None:
    cell = opened.page.locator("#heat-map .cells rect").nth(3 * 91 + 50)
    cell.click()
    assert opened.page.locator("#score-value").text_content() == "0.55"
    assert opened.page.locator("#iou option:checked").text_content() == "0.65"


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_narrow_window_shows_all_and_text_can_be_read(browser: Any, report_dir: Path, colours: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=colours)
    page = Opened(context, report_dir / "index.html").page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    luminance = """(name) => {
        const probe = document.createElement("p");
        probe.style.color = `var(${name})`;
        document.body.append(probe);
        const rgb = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
            .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
        return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];
    }"""
    light = {
        name: page.evaluate(luminance, name) for name in ("--ink", "--soft", "--card", "--field", "--accent")
    }
    for ink, paper in (
        ("--ink", "--card"),
        ("--soft", "--card"),
        ("--soft", "--field"),
        ("--accent", "--card"),
    ):
        dark, bright = sorted((light[ink], light[paper]))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)  # WCAG 2.2, contrast (minimum)
    context.close()


NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


def test_one_class_no_predictions_and_no_frames(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_pairs(tmp_path / "data", ["a", "b"], ["thing"], frames=False)
    truths = [{"boxes": torch.tensor([[1.0, 1, 40, 40]]), "labels": torch.tensor([0])}, NOTHING]
    found = results(tmp_path / "data", ["thing"], [{**NOTHING, "scores": torch.zeros(0)}] * 2, truths, 0.5)
    path = write_report(tmp_path, found, {"evaluation": "empty"})
    context = browser.new_context()
    page = Opened(context, path)
    assert numbers(page)["lost"] == 1
    page.choose("all")
    assert len(page.cards()) == 2
    page.page.keyboard.press("b")
    assert page.page.evaluate(FRAME) == "before"
    assert page.page.evaluate(SEEN.format("diff")) == "visible"  # there is nothing to blink between
    assert page.trouble == []
    context.close()


def test_what_is_not_defined_is_no_zero(browser: Any, tmp_path: Path) -> None:
    """A class without objects, once with a prediction above the threshold, once with none."""
    (tmp_path / "data").mkdir()
    names = ["thing", "guessed", "absent"]
    write_pairs(tmp_path / "data", ["a", "b"], names, frames=False)
    box = torch.tensor([[1.0, 1, 40, 40]])
    truths = [{"boxes": box, "labels": torch.tensor([0])}, NOTHING]
    guess = {"boxes": box.repeat(2, 1), "labels": torch.tensor([0, 1]), "scores": torch.tensor([0.9, 0.8])}
    found = results(tmp_path / "data", names, [guess, {**NOTHING, "scores": torch.zeros(0)}], truths, 0.5)
    context = browser.new_context()
    page = Opened(context, write_report(tmp_path, found, {"evaluation": "two classes are missing"}))
    rows = page.page.locator("#class-rates tbody tr").all()
    cells = [[cell.text_content() for cell in row.locator("td").all()] for row in rows]
    assert cells[1] == ["1", "1", "0", "1.000", "1.000", "1.000"]
    assert cells[2] == ["0", "0", "1", "0.000", "-", "0.000"]
    assert cells[3] == ["0", "0", "0", "-", "-", "-"]
    assert "at score 0.50, IoU 0.5" in page.page.locator(".cards").text_content()
    assert page.trouble == []
    context.close()


def test_where_nothing_moved_no_rate_is_shown(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_pairs(tmp_path / "data", list("abcdef"), ["thing"], frames=False)
    predictions = [{**NOTHING, "scores": torch.zeros(0)}] * 6
    found = results(tmp_path / "data", ["thing"], predictions, [NOTHING] * 6, 0.5)
    context = browser.new_context()
    page = Opened(context, write_report(tmp_path, found, {"evaluation": "nothing moved"}))
    assert [page.page.locator(f"#{key}").text_content() for key in ("precision", "recall", "f1")] == ["-"] * 3
    assert page.page.locator(".heat .note").text_content() == "F1 is not defined: there are no objects."
    cards = [card.text_content() for card in page.page.locator(".cards .name").all()]
    assert cards == ["false alarms"]
    assert "still pairs with a false alarm" in page.page.locator(".cards").text_content()
    note = page.page.locator("#overview > .note").text_content()
    assert note.startswith("The 95 % intervals are probably too narrow: no scenes are named")
    assert page.trouble == []
    context.close()
