"""`impasto remove`: a model, adapter or embedding out of the store."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.prompt import Confirm
from rich.text import Text

from impasto.errors import InvalidInput


def remove(name: str, /, *, yes: bool = False) -> int:
    """Remove a pulled model, adapter or embedding and its files from the store.

    Asks first, and says which adapters and embeddings were made for it and would be left without it. Files in other
    tools' folders are never removed.

    Args:
        name: of it; KIND/NAME where several kinds have the name.
        yes: do not ask.
    """
    from impasto.weights.store import Store

    store, console = Store(), Console(stderr=True)
    stored = store.one(name)
    entry = stored.entry
    origin = f" from {entry.origin.repo} at {entry.origin.revision}" if entry.origin else ""
    console.print(
        Text(f"{entry.name}: {entry.kind}{origin}, {entry.bytes / 1e6:,.1f} MB in {stored.folder}"), soft_wrap=True
    )
    if orphans := store.orphans(stored):
        names = ", ".join(f"{orphan.entry.kind} {orphan.entry.name}" for orphan in orphans)
        console.print(Text(f"Made for it, and left without it: {names}.", "yellow"), soft_wrap=True)
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidInput(f"Nobody is here to say whether {entry.name} is to be removed. Say --yes if it is.")
        if not Confirm.ask("Remove it?", console=console, default=False):
            return 1
    store.remove(stored)
    print(entry.name)
    return 0
