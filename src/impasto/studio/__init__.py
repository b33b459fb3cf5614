"""The studio: the web page that `impasto serve` serves at `/`.

`page/` is what is served. It is built from the sources in the repository's `studio/`; docs/studio.md says how.
"""

from __future__ import annotations
