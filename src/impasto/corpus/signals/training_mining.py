"""C2PA and CAWG training and data mining assertions in an image's content credentials.

CAWG Training and Data Mining Assertion 1.1, and `c2pa.training-mining` of C2PA 1.x and 2.0, whose entries are the same.
`constrained` has conditions that we have not met, and counts as `notAllowed`. An `allowed` that a broken credential
carries proves nothing and is unknown; a refusal stands however the credential fares.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from impasto.corpus.signals.reading import ABSENT, Reading, strictest

LABELS = ("cawg.training-mining", "c2pa.training-mining")
USES = ("ai_generative_training", "ai_training", "data_mining")
"""Entries that include training a generative model (`ai_inference` does not)."""

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
    found = strictest(read_assertion(data) for data in _assertions(store))
    if found.verdict == "allow" and not intact:
        return Reading("unknown", f"{found.raw} (in credentials that do not hold)")
    return found


def _assertions(store: dict[str, Any]) -> Iterator[Any]:
    for manifest in store.get("manifests", {}).values():
        for assertion in manifest.get("assertions", []):
            if str(assertion.get("label", "")).split("__")[0] in LABELS:
                yield assertion.get("data")


def read_assertion(data: Any) -> Reading:
    """Read the content of one assertion."""
    raw = json.dumps(data, sort_keys=True)
    entries = data.get("entries") if isinstance(data, dict) else None
    if not isinstance(entries, dict):
        return Reading("unknown", raw)
    uses = [entry for name, entry in entries.items() if name.rpartition(".")[2] in USES]
    return strictest([Reading("absent", raw), *(_entry(entry) for entry in uses)])._replace(raw=raw)


def _entry(entry: Any) -> Reading:
    use = entry.get("use") if isinstance(entry, dict) else None
    if use in ("notAllowed", "constrained"):
        return Reading("deny")
    return Reading("allow" if use == "allowed" else "unknown")
