"""Where works come from: one row a kind of source, one file each.

A source is a frozen section of a corpus plan that yields candidates. To add one, see docs/adding-a-source.md.
"""

from __future__ import annotations

from impasto.corpus.sources.base import Place, Source
from impasto.corpus.sources.folder import FolderSource
from impasto.corpus.sources.iconify import IconifySource
from impasto.corpus.sources.urls import UrlsSource

__all__ = ["SOURCES", "Place", "Source"]

#: `kind` in a plan -> the section it is read as
SOURCES: dict[str, type[Source]] = {"iconify": IconifySource, "folder": FolderSource, "urls": UrlsSource}
