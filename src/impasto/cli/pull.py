"""`impasto pull`: a model, adapter or embedding from the Hugging Face hub."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.prompt import Confirm
from rich.text import Text

from impasto.errors import InvalidInput, PullFailed, printable

if TYPE_CHECKING:
    from impasto.weights.offers import Offer
    from impasto.weights.store import Store, Stored

LINES = 24
"""Of a licence that are shown; the whole text is then in the store."""


def pull(
    repo: str,
    /,
    *,
    file: str | None = None,
    variant: str | None = None,
    revision: str | None = None,
    name: str | None = None,
    yes: bool = False,
) -> None:
    """Fetch a model, adapter or embedding from the Hugging Face hub into the store, once.

    Only safetensors, settings and tokenizers are fetched, and the texts that go with them. The licence is shown and
    asked for first. What was fetched is pinned to the commit, compared with what the hub promised, and compared again
    whenever it is loaded. A pull that was cut off goes on where it stopped. Nothing else in Impasto uses the network.

    Args:
        repo: the repository, OWNER/NAME.
        file: the one file of weights to take, where there are several.
        variant: of a folder's weights, such as fp16.
        revision: a commit, tag or branch; left out, the newest.
        name: what to call it here; left out, as the repository or the file.
        yes: agree to the licence without being asked.
    """
    from impasto.weights.hub import ask
    from impasto.weights.offers import Wish
    from impasto.weights.pull import replaced, there
    from impasto.weights.store import Store

    console, store = Console(stderr=True), Store()
    with console.status(f"Asking the hub for {repo} ..."):
        offer = ask(Wish(repo, file, variant, revision, name))
        old = replaced(offer, store)
        stored = there(offer, store)
    if stored is None:
        _show(console, offer, old)
        _agree(console, offer, store, yes=yes)
        stored = _fetch(console, offer, store)
    entry = stored.entry
    identity = f", {entry.identity}" if entry.identity else ""
    console.print(Text(f"{entry.name}: {entry.kind}{identity}, in {stored.folder}"), soft_wrap=True)
    print(entry.name)


def _show(console: Console, offer: Offer, old: Stored | None) -> None:
    origin, size = offer.origin, offer.bytes / 1e6
    lines = [f"{origin.repo} at {origin.revision}: {len(offer.files)} files, {size:,.1f} MB"]
    if offer.left_out:
        lines.append(f"Left out: {', '.join(map(printable, offer.left_out))}")
    if old and old.entry.origin:
        lines.append(f"It takes the place of {old.entry.name}, which is at {old.entry.origin.revision}.")
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _agree(console: Console, offer: Offer, store: Store, *, yes: bool) -> None:
    from impasto.weights.pull import discard, licence_text

    licence = offer.licence
    console.print(Text(f"Licence: {printable(str(licence))}"), soft_wrap=True)
    if not (licence.id or licence.name or licence.file):
        console.print("Its owners state none, which gives nobody the right to use it.", style="yellow")
    if yes:
        return
    text = licence_text(offer, store)
    if text:
        lines = text.splitlines()
        more = f"\n... and {len(lines) - LINES} lines more in {licence.file}" if len(lines) > LINES else ""
        shown = "\n".join(map(printable, lines[:LINES]))
        console.print(Text(shown + more, "dim"), soft_wrap=True)
    if not sys.stdin.isatty():
        raise InvalidInput(f"Nobody is here to agree to the licence of {offer.origin.repo}. Say --yes if you do.")
    if not Confirm.ask("Do you agree, and fetch it?", console=console, default=False):
        discard(offer, store)
        raise PullFailed("Nothing was fetched.")


def _fetch(console: Console, offer: Offer, store: Store) -> Stored:
    from impasto.weights.pull import pull

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(offer.name, total=offer.bytes)
        stored = None
        for step in pull(offer, store):
            progress.update(task, completed=step.done, description=printable(step.file) or offer.name)
            stored = step.stored
    assert stored is not None
    return stored
