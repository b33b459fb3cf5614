"""What `impasto corpus fetch` brought, as a source of a corpus: images with all that was said of their use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from impasto.corpus.candidates import Candidate, Raster
from impasto.corpus.fetched import Fetched
from impasto.corpus.policy import Refusal
from impasto.corpus.record import Caption, Consent, Licence, Maker, Work
from impasto.corpus.record import Source as Origin
from impasto.corpus.sources.base import Place, Source
from impasto.corpus.visit import Visit
from impasto.errors import NotFound, SourceUnavailable


class UrlsSource(Source):
    """A folder of fetched images.

    Attributes:
        path: of the folder, relative to the plan.
        collection: short name for its works.
        version: what state of the table it is; a date, a release.
        caption_source: where the captions come from.
    """

    kind: Literal["urls"]
    path: Path
    collection: str
    version: str
    caption_source: str = "alt-text"

    def candidates(self, place: Place) -> Iterator[Candidate]:
        """Yield every row of the table, in its order; those that were not fetched with the reason."""
        try:
            fetched = Fetched.open(place.folder / self.path)
        except NotFound as error:
            raise SourceUnavailable(str(error)) from error
        for shard in fetched.shards:
            images = fetched.images(shard)
            for visit in fetched.visits(shard):
                yield self._candidate(visit, images)

    def _candidate(self, visit: Visit, images: Iterator[tuple[str, bytes]]) -> Candidate:
        work = self._work(visit)
        if visit.status != "fetched":
            return Candidate(work, None, Refusal(rule=visit.status, reason=visit.reason))
        key, data = next(images, ("", b""))
        if key != visit.listed.key:
            raise SourceUnavailable(f"{self.path} lacks the image of row {visit.listed.key}; fetch its shard again.")
        return Candidate(work, Raster(data))

    def _work(self, visit: Visit) -> Work:
        row = visit.listed
        return Work(
            source=Origin(
                collection=self.collection,
                version=self.version,
                key=row.key,
                file=row.url,
                page=row.page,
                retrieved_at=visit.at,
            ),
            maker=Maker(name=row.maker, uri=row.maker_uri) if row.maker != "unknown" else Maker(name=_host(row.url)),
            licence=Licence(spdx=row.licence, url=row.licence_url, evidence=row.consent.evidence),
            consent=Consent(basis=visit.basis, evidence=row.consent.evidence or visit.reason),
            caption=Caption(text=row.caption, source=self.caption_source),
            signals=visit.signals,
        )


def _host(url: str) -> str:
    """Return who is named where no maker is: the unknown maker of what a host shows."""
    try:
        return f"unknown, at {urlsplit(url).hostname or 'no host'}"
    except ValueError:
        return "unknown"
