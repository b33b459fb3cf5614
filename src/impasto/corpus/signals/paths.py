"""Path patterns as robots.txt has them (RFC 9309, 2.2.2 and 2.2.3): `*` is anything, `$` the end, else a prefix."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit


def target(url: str) -> str:
    """Return what patterns are matched with: path and query of `url`, percent-encoded in one way."""
    parts = urlsplit(url)
    return _same(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")


def matches(pattern: str, path: str) -> bool:
    """Return whether `pattern` fits `path`, which `target` made; a pattern without a slash may begin anywhere."""
    anchored = pattern.endswith("$")
    body = _same(pattern[:-1] if anchored else pattern)
    if not body.startswith(("/", "*")):
        body = f"*{body}" if "*" in body or "." in body else f"/{body}"
    expression = ".*".join(map(re.escape, re.sub(r"\*+", "*", body).split("*")))
    return re.match(expression + ("$" if anchored else ""), path) is not None


def _same(text: str) -> str:
    return quote(unquote(text, errors="surrogateescape"), safe="/*?=&:;,.~!@+'()$-_", errors="surrogateescape")
