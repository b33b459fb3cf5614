"""`impasto corpus`: build, look at and verify what a model learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from impasto.errors import CorpusChanged, InvalidInput

if TYPE_CHECKING:
    from impasto.corpus.build import Progress
    from impasto.corpus.record import Row
    from impasto.corpus.store import Corpus

app = App(name="corpus", help="Build, look at and verify a corpus.")

_STAGES = {"read": "Reading sources", "draw": "Drawing", "compare": "Comparing", "write": "Writing"}


@app.command
def build(
    plan: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    source_archive: Path | None = None,
    workers: int | None = None,
) -> None:
    """Build a corpus from a plan: read its sources, judge every work by the policy, draw, deduplicate, split, write.

    Args:
        plan: TOML file, such as recipes/glyph/corpus.toml.
        output: folder of the corpus; a corpus that is there is replaced once the new one is whole.
        source_archive: package tarball that is there already, instead of fetching it; its digest is checked too.
        workers: processes that draw; one a core when left out.
    """
    from impasto.corpus.build import build as build_corpus
    from impasto.corpus.store import Corpus

    console = Console()
    _watched(build_corpus(plan, output, source_archive, workers), console)
    corpus = Corpus.open(output)
    _summary(corpus, console)
    console.print(_counts("Refused", (refused.rule for refused in corpus.refused), "rule"))


@app.command
def fetch(
    table: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    contact: str,
    threads: int = 32,
    per_host: int = 2,
    delay: float = 0.2,
    shard: int = 1000,
    tries: int = 3,
    timeout: float = 20.0,
    runs: int = 3,
    again: bool = False,
    private: bool = False,
) -> None:
    """Fetch the images of a url table, none that is reserved; the same command goes on where it was ended.

    Before a site is asked for an image, its robots.txt, ai.txt and tdmrep.json are read; then the headers of the answer
    and the metadata in the file. All that was looked for is recorded with its verdict, and what cannot be read counts
    as a reservation. A plan takes what was fetched in with a source of kind "urls".

    Args:
        table: Parquet (LAION's columns), CSV or JSON lines, with a column url.
        output: folder for the shards.
        contact: an address or page where a site can reach you; it goes into the user agent.
        threads: requests at once, over all hosts.
        per_host: requests to one host at once.
        delay: seconds between two requests to a host; its robots.txt may ask for more.
        shard: rows of a shard.
        tries: how often a row is tried whose failure may pass: a time-out, no connection, status 429 or 5xx.
        timeout: seconds that a request may take.
        runs: in how many runs such a row is tried, or one whose site's rules could not be had: the same command tries
            it again.
        again: try every row once more that failed in an earlier run, however often and why.
        private: ask addresses of private networks and of this machine too.
    """
    from impasto.corpus.fetch import Settings
    from impasto.corpus.fetch import fetch as fetch_table
    from impasto.corpus.web import Manners

    given = {"per_host": per_host, "delay": delay, "tries": tries, "timeout": timeout, "private": private}
    manners = Manners.parse({"contact": contact, **given}, "How the web is asked")
    how = {"threads": threads, "shard": shard, "runs": runs, "again": again}
    settings = Settings.parse({"manners": manners, **how}, "The settings")
    console, statuses = Console(), Counter[str]()
    with console.status("Fetching ...") as status:
        for progress in fetch_table(table, output, settings):
            statuses = progress.statuses
            counts = ", ".join(f"{count:,} {name}" for name, count in sorted(statuses.items()) if count)
            status.update(f"{progress.done:,} rows: {counts}")
    console.print(_counts("Rows", statuses.elements(), "status"))


@app.command
def forget(
    folder: Path,
    /,
    *,
    reason: str,
    evidence: str,
    maker: str | None = None,
    url: str | None = None,
    image: Path | None = None,
    row: str | None = None,
) -> None:
    """Mark works of a corpus as revoked: from then on no training takes the corpus with them.

    Args:
        folder: of the corpus.
        reason: why, in a sentence.
        evidence: where it was asked: a letter, a page, a case.
        maker: all works by the maker with this name or page.
        url: the work with this url, or all on the page with this url.
        image: the works that are this image file, or a near copy of it.
        row: the work with this key, such as noto:fox, or the start of its id.
    """
    from impasto.corpus import revoked

    given = {"maker": maker, "url": url, "image": str(image) if image else None, "row": row}
    asked = [(kind, value) for kind, value in given.items() if value is not None]
    if len(asked) != 1:
        raise InvalidInput("Give one of --maker, --url, --image and --row.")
    corpus, console = _open(folder), Console(highlight=False)
    rows = revoked.find(corpus, *asked[0])
    new = revoked.mark(corpus, rows, asked[0], reason, evidence)
    for one in rows:
        console.print(Text(f"{one.key} {one.id} by {one.maker.name}"), soft_wrap=True)
    console.print(f"{len(new)} marked now, {len(rows) - len(new)} before.", soft_wrap=True)
    console.print(Text(f"What learned from them: impasto lineage --affected {corpus.folder}"), soft_wrap=True)


@app.command
def without_revoked(folder: Path, /, *, output: Annotated[Path, Parameter(alias="-o")]) -> None:
    """Write a corpus without its revoked rows, which a training takes.

    Args:
        folder: of the corpus.
        output: folder of the new one; a corpus that is there is replaced.
    """
    from impasto.corpus import revoked

    gone = revoked.without(_open(folder), output)
    Console().print(Text(f"Wrote {output} without {gone} revoked rows."), soft_wrap=True)


@app.command
def stats(folder: Path, /) -> None:
    """Count a corpus: by licence, maker, collection and split, and what was refused by which rule.

    Args:
        folder: of the corpus.
    """
    corpus, console = _open(folder), Console()
    _summary(corpus, console)
    console.print(_counts("Licences", (row.licence.spdx for row in corpus.rows), "licence"))
    console.print(_counts("Consent", (row.consent.basis for row in corpus.rows), "basis"))
    console.print(_makers(corpus.rows))
    console.print(_collections(corpus))
    console.print(_refusals(corpus))


@app.command
def show(
    folder: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("corpus.png"),
    collection: tuple[str, ...] = (),
    concept: tuple[str, ...] = (),
    concepts: Path | None = None,
    maker: str | None = None,
    licence: str | None = None,
    split: Literal["train", "held-out"] | None = None,
    count: int = 64,
    columns: int = 8,
) -> None:
    """Draw a sheet of works, with the name of its maker under each.

    Args:
        folder: of the corpus.
        output: where the sheet goes, a PNG file.
        collection: only of these collections (may be given several times).
        concept: only of these concepts, such as red-apple (may be given several times).
        concepts: only of the concepts in this text file, one a line.
        maker: only by makers whose name contains this.
        licence: only under this licence (SPDX).
        split: only from this part.
        count: works at most; they are spread evenly over all that fit.
        columns: works side by side.
    """
    from impasto.corpus.concepts import read_concepts
    from impasto.corpus.sheet import Entry, picture_sheet

    wanted = {*concept, *(read_concepts(concepts) if concepts else ())}
    corpus = _open(folder)
    rows = [
        row
        for row in corpus.rows
        if (not collection or row.source.collection in collection)
        and (not wanted or row.concept in wanted)
        and (maker is None or maker.lower() in row.maker.name.lower())
        and (licence is None or row.licence.spdx == licence)
        and (split is None or row.split == split)
    ]
    if not rows:
        raise InvalidInput(f"No work in {folder} fits. See what there is: `impasto corpus stats {folder}`.")
    shown = _spread(rows, count)
    of = f"{len(shown)} of {len(rows)} works" if len(shown) < len(rows) else f"{len(rows)} works"
    subtitle = f"{of} by {len({row.maker.name for row in rows})} makers · root {_short(corpus.manifest.root)}"
    sheet = picture_sheet(
        [Entry(row, corpus.image(row)) for row in shown], f"The corpus {corpus.manifest.name}", subtitle, columns
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output)
    Console().print(Text.assemble(f"Drew {of} on ", (str(output), "bold"), f" ({sheet.width}x{sheet.height})."))


@app.command
def verify(folder: Path, /, *, root: str | None = None) -> None:
    """Find every row or image of a corpus that was changed, added or removed since it was built.

    Args:
        folder: of the corpus.
        root: the Merkle root that it must have, from a receipt or a release; without it, its own word is taken.
    """
    corpus, console = _open(folder), Console()
    problems = corpus.verify()
    if root is not None and root != corpus.root:
        problems.insert(0, f"the corpus has root {corpus.root}, not {root}")
    for problem in problems:
        console.print(Text.assemble(("• ", "red"), problem), soft_wrap=True)
    if problems:
        raise CorpusChanged(f"{folder} is not what it promises: {len(problems)} problems.")
    images = "and images" if corpus.has_images else "(the images are not here)"
    console.print(
        f"[green]All holds:[/green] {len(corpus.rows)} rows {images}, root {corpus.root}",
        highlight=False,
        soft_wrap=True,
    )


@app.command
def prove(folder: Path, row: str, /) -> None:
    """Print a work's row with the proof (JSON) that it is in the corpus.

    Args:
        folder: of the corpus.
        row: its key, such as noto:fox, or the start of its id.
    """
    import json

    corpus = _open(folder)
    found = corpus.find(row)
    print(
        json.dumps(
            {"row": json.loads(found.leaf()), "proof": corpus.prove(found).plain()}, ensure_ascii=False, indent=1
        )
    )


@app.command
def attribution(folder: Path, /, *, output: Annotated[Path | None, Parameter(alias="-o")] = None) -> None:
    """Name everyone whose works are in a corpus, one line a maker.

    Args:
        folder: of the corpus.
        output: text file to write; printed when left out.
    """
    from impasto.corpus.attribution import attribution as text_of
    from impasto.files import write_text

    corpus = _open(folder)
    text = text_of(corpus.manifest.name, corpus.manifest.root, corpus.rows)
    if output:
        write_text(output, text)
    else:
        print(text, end="")


def _open(folder: Path) -> Corpus:
    from impasto.corpus.store import Corpus

    return Corpus.open(folder)


def _watched(stages: Iterator[Progress], console: Console) -> None:
    """Drive a build and show how far it is."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        tasks = {}
        for progress in stages:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(_STAGES[progress.stage], total=progress.total)
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total)


def _summary(corpus: Corpus, console: Console) -> None:
    said = corpus.manifest
    held = sum(row.split == "held-out" for row in corpus.rows)
    size = f"{said.images_bytes / 1e6:.1f} MB of images"
    counts = (
        f"{said.rows:,} rows ({said.rows - held:,} to train on, {held:,} held out), {said.refused:,} refused, {size}"
    )
    digests = f"\nroot   {said.root}\npolicy {said.policy}\nplan   {said.plan}"
    console.print(Text.assemble((said.name, "bold"), f": {counts}", digests), soft_wrap=True)


def _counts(title: str, values: Iterable[str], column: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(column)
    table.add_column("works", justify="right")
    for value, number in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])):
        _add_row(table, value, f"{number:,}")
    return table


def _makers(rows: Iterable[Row]) -> Table:
    from impasto.corpus.attribution import by_maker

    table = Table(title="Makers", title_justify="left", title_style="bold")
    for column in ("maker", "licence", "collections"):
        table.add_column(column, overflow="fold")
    table.add_column("works", justify="right")
    for credit in by_maker(rows):
        _add_row(table, credit.maker.name, credit.licence.spdx, ", ".join(credit.collections), f"{credit.works:,}")
    return table


def _collections(corpus: Corpus) -> Table:
    trained = Counter(row.source.collection for row in corpus.rows if row.split == "train")
    held = Counter(row.source.collection for row in corpus.rows if row.split == "held-out")
    refused = Counter(one.work.source.collection for one in corpus.refused)
    licences = {
        work.source.collection: work.licence.spdx for work in (*corpus.rows, *(one.work for one in corpus.refused))
    }
    table = Table(title="Collections", title_justify="left", title_style="bold")
    table.add_column("collection")
    table.add_column("licence")
    for column in ("train", "held out", "refused"):
        table.add_column(column, justify="right")
    for name in sorted(licences, key=lambda name: (-trained[name], name)):
        _add_row(table, name, licences[name], f"{trained[name]:,}", f"{held[name]:,}", f"{refused[name]:,}")
    return table


def _refusals(corpus: Corpus) -> Table:
    table = Table(title="Refused", title_justify="left", title_style="bold")
    table.add_column("rule")
    table.add_column("for example")
    table.add_column("works", justify="right")
    examples = {one.rule: f"{one.work.key}: {one.reason}" for one in reversed(corpus.refused)}
    for rule, number in Counter(one.rule for one in corpus.refused).most_common():
        _add_row(table, rule, examples[rule], f"{number:,}")
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Add cells as they are: names out of a corpus are no markup, and `:fog:` is not an emoji."""
    table.add_row(*map(Text, cells))


def _spread(rows: list[Row], count: int) -> list[Row]:
    """Return at most `count` of `rows`, evenly spread."""
    count = min(max(1, count), len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
