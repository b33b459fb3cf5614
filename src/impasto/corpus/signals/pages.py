"""The `meta` elements of a web page."""

from __future__ import annotations

from html.parser import HTMLParser


def metas(html: str) -> list[tuple[str, str]]:
    """Return (name, content) of every `meta` element of `html` that has a name."""
    reader = _Metas()
    reader.feed(html)
    reader.close()
    return reader.found


class _Metas(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "meta" and (name := given.get("name")):
            self.found.append((name, given.get("content", "")))
