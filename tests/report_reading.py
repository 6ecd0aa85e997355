"""Reading a report as a browser would, and evidence whose every text is hostile."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import msgspec

HOSTILE = """</script></title></details><img src=x onerror=alert(1)>"' onload='[red]{{ 7 * 7 }}"""
FIXED = {"status", "pays"}
"""Fields that take one of a few words."""


class Page(HTMLParser):
    """What a page holds: its tags with attributes, the text of each element by class, its rows of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.headings: list[str] = []
        self.texts: list[str] = []
        self._into: list[str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self._begin(self.rows[-1])
        elif tag in {"h1", "h2", "h3"}:
            self._begin(self.headings)
        elif dict(attrs).get("class") == "text":
            self._begin(self.texts)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th", "h1", "h2", "h3", "div"}:
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data

    def _begin(self, into: list[str]) -> None:
        into.append("")
        self._into = into


def everywhere(value: Any, said: str, kept: frozenset[str] = frozenset()) -> Any:
    """The same value with ``said`` in the place of every text that could be anything, but for those ``kept``."""
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return type(value)(**{n: v if n in FIXED else everywhere(v, said, kept) for n, v in fields.items()})
    if isinstance(value, list):
        return [everywhere(one, said, kept) for one in value]
    if isinstance(value, dict):
        return {everywhere(key, said, kept): everywhere(one, said, kept) for key, one in value.items()}
    return said if isinstance(value, str) and value not in kept else value
