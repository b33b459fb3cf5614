"""C2PA and CAWG training and data mining assertions in an image's content credentials.

CAWG Training and Data Mining Assertion 1.1, and `c2pa.training-mining` of C2PA 1.x and 2.0, whose entries are the same.
`constrained` has conditions that we have not met, and counts as `notAllowed`. An `allowed` that a broken credential
carries proves nothing and is unknown; a refusal stands however the credential fares, and whichever picture it was about
that this one was made from. Leave to train models that generate nothing (`ai_training`) is not leave to train one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from impasto.corpus.signals.reading import ABSENT, Reading, strictest

LABELS = ("cawg.training-mining", "c2pa.training-mining")
USES = ("ai_generative_training", "ai_training", "data_mining")
"""Entries whose refusal is one of training a generative model (`ai_inference` is not)."""

GRANTS = ("cawg.ai_generative_training", "c2pa.ai_generative_training")
"""Entries that can allow it."""

IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")

MARKS = (b"jumb", b"JUMB", b"c2pa", b"C2PA", b"caBX", b"provenance", b"iTXt", b"zTXt")
"""Of which one is in every file with credentials: the type of their box (ISO 19566-5), the chunk that they lie in, or
XMP that says where they are, which PNG may compress."""

OFFLINE: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": []},
}


def read(image: bytes, media_type: str) -> Reading:
    """Read the credentials in an image file; nothing is fetched.

    Args:
        image: the file.
        media_type: such as `image/png`.
    """
    if image.startswith(IMAGES) and not any(mark in image for mark in MARKS):
        return ABSENT  # at once: c2pa takes a thousand times as long to find nothing
    import c2pa

    try:
        with (
            c2pa.Context.from_dict(OFFLINE) as context,
            c2pa.Reader(media_type, io.BytesIO(image), context=context) as reader,
        ):
            store = json.loads(reader.json())
            state = reader.get_validation_state()
    except c2pa.C2paError.ManifestNotFound:
        return ABSENT
    except (c2pa.C2paError, ValueError) as error:
        return Reading("unknown", f"content credentials that cannot be read: {error}")
    return _judged(store, intact=state in ("Valid", "Trusted"))


def _judged(store: dict[str, Any], *, intact: bool) -> Reading:
    found = strictest(
        reading if own or reading.verdict != "allow" else Reading("absent", reading.raw)
        for own, reading in ((own, read_assertion(data)) for own, data in _assertions(store))
    )
    if found.verdict == "allow" and not intact:
        return Reading("unknown", f"{found.raw} (in credentials that do not hold)")
    return found


def _assertions(store: dict[str, Any]) -> Iterator[tuple[bool, Any]]:
    """Yield (whether it is about this very picture, content) of each assertion."""
    for name, manifest in store.get("manifests", {}).items():
        for assertion in manifest.get("assertions", []):
            if str(assertion.get("label", "")).split("__")[0] in LABELS:
                yield name == store.get("active_manifest"), assertion.get("data")


def read_assertion(data: Any) -> Reading:
    """Read the content of one assertion."""
    raw = json.dumps(data, sort_keys=True)
    entries = data.get("entries") if isinstance(data, dict) else None
    if not isinstance(entries, dict):
        return Reading("unknown", raw)
    uses = [_entry(name, entry) for name, entry in entries.items() if name.rpartition(".")[2] in USES]
    return strictest([Reading("absent", raw), *uses])._replace(raw=raw)


def _entry(name: str, entry: Any) -> Reading:
    use = entry.get("use") if isinstance(entry, dict) else None
    if use in ("notAllowed", "constrained"):
        return Reading("deny")
    if use != "allowed":
        return Reading("unknown")
    return Reading("allow" if name in GRANTS else "absent")
