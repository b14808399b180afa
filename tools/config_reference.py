#!/usr/bin/env python3
"""Writes the option tables of docs/configuration.md from the settings; with --check, says whether it had to."""

import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gatewayd.config.settings import Settings  # noqa: E402  # found through the line above
from gatewayd.config.wording import limits, named_section_of, section_of, walk_options  # noqa: E402  # same

PAGE = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- options: written by tools/config_reference.py -->\n", "<!-- end of options -->\n"
NAMES = {str: "text", int: "whole number", float: "number", bool: "switch"}


def kind(annotation: object) -> str:
    """Name a type in the words of the page."""
    if section_of(annotation) or named_section_of(annotation):
        return "section"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is dict:
        return "texts by name"
    if get_origin(annotation) is tuple:
        return "list of texts"
    inner = [arg for arg in get_args(annotation) if arg is not type(None)] or [annotation]
    return next((name for known, name in NAMES.items() if inner[0] is known), "text")


def default(info: FieldInfo) -> str:
    """Show a default as it would stand in the file."""
    if info.is_required():
        return "required"
    if info.default is None or info.default in ((), {}) or section_of(info.annotation):
        return ""
    if isinstance(info.default, bool):
        return "`on`" if info.default else "`off`"
    shown = f"{info.default:g}" if isinstance(info.default, float) else str(info.default)
    return f"`{shown}`" if shown else '`""`'


def tables() -> str:
    """Render one table for each section."""
    sections: dict[str, list[str]] = {}
    for loc, info in walk_options(Settings):
        words = limits(info)
        cells = (
            f"`{loc[-1]}`",
            kind(info.annotation),
            default(info),
            words.removeprefix("lie in ") if words else "",
        )
        row = f"| {' | '.join(cells)} | {(info.description or '').replace('|', chr(92) + '|')} |"
        sections.setdefault(".".join(loc[:-1]), []).append(row)
    head = "| option | takes | default | range | meaning |\n|---|---|---|---|---|\n"
    titles = ((f"### `{name}`" if name else "### Top level", rows) for name, rows in sections.items())
    return "\n".join(f"{title}\n\n{head}" + "\n".join(rows) + "\n" for title, rows in titles)


def updated(text: str) -> str:
    """Return the page with fresh tables."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Write the page; with --check only compare."""
    text = PAGE.read_text(encoding="utf-8")
    fresh = updated(text)
    if "--check" in sys.argv:
        return int(fresh != text)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
