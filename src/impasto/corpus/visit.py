"""One row of a url table, visited: what its url gave, and what every signal on the way said."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from typing import Literal

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from impasto.corpus.dedup import Fingerprint, fingerprint
from impasto.corpus.record import Basis, Consent, Licence, Signal
from impasto.corpus.render import MEDIA_TYPES
from impasto.corpus.signals import content_usage, pages, robots_tag, tdmrep, training_mining, xmp
from impasto.corpus.signals.precedence import Decision, decide
from impasto.corpus.signals.reading import Reading, strictest
from impasto.corpus.store import upright
from impasto.corpus.web import FILE_SIZE, HOPS, PASSING, Answer, Unreachable, Web
from impasto.errors import InvalidInput
from impasto.schema import Frozen, bytes_digest

MOST_PIXELS = 80_000_000  # below which Pillow does not warn of a bomb

Status = Literal["fetched", "duplicate", "refused", "failed", "invalid"]


class Listed(Frozen):
    """A row of a url table.

    Attributes:
        place: its number in the table, from 0.
        url: of the image.
        caption: empty when the table has none.
        page: where the image is shown, if the table says so; its `meta` elements are read too.
        maker: as the table states it.
        maker_uri: their page.
        licence: SPDX, `unknown` where the table has none.
        licence_url: its text.
        consent: basis and evidence as the table states them.
    """

    place: int
    url: str
    caption: str = ""
    page: str | None = None
    maker: str = "unknown"
    maker_uri: str | None = None
    licence: str = "unknown"
    licence_url: str | None = None
    consent: Consent = Consent(basis="unknown")

    @property
    def key(self) -> str:
        """The name of its files."""
        return f"{self.place:09d}"


class Found(Frozen):
    """The image that a url gave.

    Attributes:
        id: `sha256:<hex>` of the bytes.
        media_type: by its content, not by its name.
        width: pixels.
        height: pixels.
        bytes: length.
        phash: 128 bits, on white and of the outline (`dedup`), as hex.
    """

    id: str
    media_type: str
    width: int
    height: int
    bytes: int
    phash: str


class Visit(Frozen):
    """What came of a row.

    Attributes:
        listed: the row.
        status: `fetched`, `duplicate` (of one that was), `refused` (reserved, or not readable), `failed` (no image
            came), `invalid` (the url is none that may be asked).
        reason: one sentence.
        basis: the right by which the image may be used (`precedence`), `unknown` unless it was fetched.
        at: when it was visited (RFC 3339).
        http_status: of the last answer, 0 when there was none.
        final_url: after redirects.
        signals: all that were looked for; what comes after a refusal was not.
        found: the image.
        duplicate_of: key of the row that has the image.
        passing: whether another try may come to something else: a time-out, no connection, status 429 or 5xx, of the
            image or of the files in which its site says its rules.
        runs: in how many runs it was visited.
        earlier: what came of it in those before, a sentence each.
    """

    listed: Listed
    status: Status
    reason: str
    basis: Basis = "unknown"
    at: str
    http_status: int = 0
    final_url: str = ""
    signals: tuple[Signal, ...] = ()
    found: Found | None = None
    duplicate_of: str | None = None
    passing: bool = False
    runs: int = 1
    earlier: tuple[str, ...] = ()

    def after(self, before: Visit | None) -> Visit:
        """Return this visit as the one that follows `before`, of an earlier run."""
        if before is None:
            return self
        earlier = (*before.earlier, f"{before.at}: {before.reason}")
        return self.model_copy(update={"runs": before.runs + 1, "earlier": earlier})


class Visitor:
    """Visits one row: reads the signals in the order in which they can be seen, and stops at the first refusal.

    Attributes:
        wait: seconds that a site which could not answer asked to wait, once `visit` is over.
    """

    def __init__(self, web: Web, listed: Listed) -> None:
        self.web, self.listed = web, listed
        self.at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.readings: dict[str, list[Reading]] = {}
        self.status, self.url = 0, listed.url
        self.wait, self._passing = 0.0, False

    def visit(self) -> tuple[Visit, bytes]:
        """Return what came of the row, and the image file, empty unless it was fetched."""
        try:
            return self._fetch()
        except _Refused as refused:
            return self._outcome("refused", str(refused), passing=self._passing), b""
        except InvalidInput as error:
            return self._outcome("invalid", str(error)), b""
        except Unreachable as error:
            self.wait = error.wait
            return self._outcome("failed", str(error), passing=error.passing), b""

    def _fetch(self) -> tuple[Visit, bytes]:
        if self.listed.page:
            self._read_page(self.listed.page)
        for _ in range(HOPS + 1):
            self._enter(self.url)
            with self.web.ask(self.url, "image/*,*/*;q=0.1") as answer:
                self.status = answer.status
                self._read_headers(answer)
                if answer.redirect is None:
                    return self._read_image(answer)
                self.url = answer.redirect
        raise Unreachable(f"more than {HOPS} redirects")

    def _enter(self, url: str) -> None:
        """Stop unless the site lets us ask for `url` and does not reserve what is there.

        A site that keeps crawlers out is not asked, whatever a maker has granted.
        """
        site = self.web.site(url)
        self._passing = site.passing
        for kind, reading in site.readings(url).items():
            self._note(kind, reading)
        if (crawl := site.crawl(url)).verdict != "absent":
            raise _Refused(f"robots.txt ({crawl.verdict}): {crawl.raw}")
        self._stop_if_reserved()

    def _read_headers(self, answer: Answer) -> None:
        site = self.web.site(answer.url)
        file = site.tdm if not isinstance(site.tdm, Reading) else None
        reserved = tdmrep.read(answer.lines(tdmrep.HEADER), answer.lines(tdmrep.POLICY), file, answer.url)
        if isinstance(site.tdm, Reading) and reserved.verdict == "absent":
            reserved = site.tdm
        self._note("X-Robots-Tag", robots_tag.read(answer.lines(robots_tag.HEADER)))
        self._note("Content-Usage", content_usage.read(answer.lines(content_usage.HEADER)))
        self._note("TDMRep", reserved)
        self._stop_if_reserved()

    def _read_page(self, url: str) -> None:
        """Read the page that shows the image; one that cannot be had, or may not be asked for, says nothing."""
        try:
            if self.web.site(url).crawl(url).verdict != "absent":
                return
            with self.web.ask(url, "text/html") as answer:
                html = self.web.body(answer, FILE_SIZE) if answer.status == 200 else b""
        except (Unreachable, InvalidInput):
            return
        metas = pages.metas(html.decode("utf-8", errors="replace"))
        self._note("meta robots", robots_tag.read_meta(metas))
        self._note("TDMRep meta", tdmrep.read_meta(metas))
        self._stop_if_reserved()

    def _read_image(self, answer: Answer) -> tuple[Visit, bytes]:
        if answer.status != 200:
            raise Unreachable(f"status {answer.status}", passing=answer.status in PASSING, wait=answer.wait)
        data = self.web.body(answer, self.web.manners.max_bytes)
        found = look(data)
        self._note("XMP data mining", xmp.read(data))
        self._note("C2PA training-mining", training_mining.read(data, found.media_type))
        self._stop_if_reserved()
        decision = self._decision()
        return self._outcome("fetched", decision.reason).model_copy(
            update={"basis": decision.basis, "found": found}
        ), data

    def _note(self, kind: str, reading: Reading) -> None:
        self.readings.setdefault(kind, []).append(reading)

    def _signals(self) -> tuple[Signal, ...]:
        return tuple(strictest(readings).seen(kind, self.at) for kind, readings in self.readings.items())

    def _decision(self) -> Decision:
        return decide(self._signals(), self.listed.consent, Licence(spdx=self.listed.licence))

    def _stop_if_reserved(self) -> None:
        decision = self._decision()
        if decision.refused_by:
            raise _Refused(decision.reason)

    def _outcome(self, status: Status, reason: str, *, passing: bool = False) -> Visit:
        return Visit(
            listed=self.listed,
            status=status,
            reason=reason,
            at=self.at,
            http_status=self.status,
            final_url=self.url,
            signals=self._signals(),
            passing=passing,
        )


class _Refused(Exception):
    """The row is reserved, or what it says cannot be read."""


def look(data: bytes) -> Found:
    """Return what `data` is.

    Raises:
        Unreachable: no PNG, JPEG or WebP image that can be decoded.
    """
    try:
        with Pillow.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES)) as opened:
            media_type = MEDIA_TYPES[str(opened.format)]
            if opened.width * opened.height > MOST_PIXELS:
                raise Unreachable(f"{opened.width}x{opened.height} is more than {MOST_PIXELS:,} pixels")
            image = upright(opened)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise Unreachable(f"no image that can be read: {error}"[:300]) from error
    seen = fingerprint(image)
    return Found(
        id=bytes_digest(data),
        media_type=media_type,
        width=image.width,
        height=image.height,
        bytes=len(data),
        phash=hash_of(seen),
    )


def hash_of(seen: Fingerprint) -> str:
    """Return the 128 bits of a fingerprint as 32 hex digits."""
    return seen.phash + np.packbits(seen.outline).tobytes().hex()


def picture(data: bytes) -> Pillow.Image:
    """Return the pixels (RGBA) of an image file that `look` has seen."""
    with Pillow.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES)) as opened:
        return upright(opened)
