"""From the contents of the report to a single HTML file."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

PAGE = Path(__file__).parent / "page"
STYLES = ("page.css", "gallery.css")
# In this order; together they are one script.
SCRIPTS = (
    "elements.js",
    "rates.js",
    "chart.js",
    "heat_map.js",
    "charts.js",
    "boxes.js",
    "gallery.js",
    "page.js",
)


def render_page(contents: Mapping[str, Any]) -> str:
    """The page as text.

    The page asks for nothing from anywhere, and its policy lets the browser run and load nothing but
    what is written here: the one script and the one style whose hashes are named.

    Args:
        contents: What index.html.jinja names; everything is escaped. `script` is for the script.
    """
    style = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in STYLES)
    parts = [(PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS]
    # One function, so that no name leaks into the page.
    program = '"use strict";\n(() => {\n' + "\n".join(parts) + "\n})();\n"
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(program)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template("index.html.jinja")
    return template.render(**contents, style=style, program=program, policy=policy)


def _digest(text: str) -> str:
    """As the Content-Security-Policy of a page wants it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
