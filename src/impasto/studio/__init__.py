"""The studio: the web page that `impasto serve` serves.

What is served is in `page/`, built from the sources in the repository's `studio/` folder; docs/studio.md says how.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent / "page"
"""The folder with `index.html`, `icon.svg` and `assets/`."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "font-src 'none'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy that the page keeps to: nothing from elsewhere, nothing inline, in nobody's frame."""
