"""Images a second: `impasto corpus fetch` beside img2dataset, from one server on this machine, in turns.

    pip install img2dataset==1.47.0        # in an environment of its own, whose Python is PEER
    python benchmarks/fetch.py --peer PEER --rows 3000 --rounds 3
    python benchmarks/fetch.py --peer PEER --rows 300 --rounds 1      # a short one, to see that all works

The server answers every request after `--latency`, on as many hosts as are asked for (127.0.0.1, 127.0.0.2 ...);
every image is another. Both get the same table, the same number of threads, one process, and no pause between
requests. Impasto looks for every signal, decodes every image, compares it with all others, and keeps what came.
img2dataset looks at X-Robots-Tag, and is run twice: as its page suggests, each image decoded and made 256 px wide
(`resized`), and keeping what came without looking at it (`kept`), which no more tells an image from an error page.
Time runs from the first request that the server sees to the last file that was written; beside it the processor's own
seconds for a thousand images, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, TILES = 256, 8
QUALITY = 90

IMPASTO = """
import sys
from pathlib import Path
from impasto.corpus.fetch import Settings, fetch
from impasto.corpus.web import Manners
table, output, threads = sys.argv[1:]
manners = Manners(contact="mailto:nobody@example.org", private=True, delay=0, per_host=int(threads))
for progress in fetch(Path(table), Path(output), Settings(manners=manners, threads=int(threads))):
    pass
"""

PEER = """
import sys
from img2dataset import download
if __name__ == "__main__":
    table, output, threads, kept = sys.argv[1:]
    how = {"disable_all_reencoding": True} if kept == "kept" else {"image_size": 256}
    download(url_list=table, input_format="csv", url_col="url", caption_col="caption", output_format="webdataset",
             output_folder=output, processes_count=1, thread_count=int(threads), number_sample_per_shard=1000, **how)
"""


PEERS = ("resized", "kept")


def image(number: int) -> bytes:
    """Return a JPEG that is like no other number's."""
    tiles = np.random.default_rng(number).integers(0, 256, (TILES, TILES, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(tiles).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


async def serve(count: int, latency: float) -> None:
    """Serve `count` images until the process ends; print the port, and for each line read when it was first asked."""
    images = [image(number) for number in range(count)]
    asked: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked.append(time.time())
                name = head.split(b" ", 2)[1].decode().removeprefix("/images/").removesuffix(".jpg")
                await asyncio.sleep(latency)
                found = images[int(name)] if name.isdecimal() else None
                status = b"200 OK" if found else b"404 Not Found"
                body = found or b""
                kind = b"\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body)
                writer.write(b"HTTP/1.1 " + status + kind + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(asked[0] if asked else 0.0, flush=True)
        asked.clear()


@contextmanager
def serving(count: int, latency: float) -> Iterator[tuple[int, Callable[[], float]]]:
    """Serve in a process of its own; yield the port, and what tells when it was first asked since it was last asked."""
    words = [sys.executable, __file__, "serve", str(count), str(latency)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        port = int(process.stdout.readline())

        def first() -> float:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        try:
            yield port, first
        finally:
            process.terminate()


def table(folder: Path, rows: int, hosts: int, port: int) -> Path:
    """Write the table of urls."""
    path = folder / "table.csv"
    lines = [f"http://127.0.0.{1 + row % hosts}:{port}/images/{row}.jpg,picture {row}\n" for row in range(rows)]
    path.write_text("url,caption\n" + "".join(lines))
    return path


def rate(words: list[str], output: Path, first: Callable[[], float], ending: str, rows: int) -> tuple[float, float]:
    """Run a program; return its images a second, and the processor's seconds for a thousand, its start in them."""
    shutil.rmtree(output, ignore_errors=True)
    before = _processor()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    stored = kept(output)
    if stored != rows:
        raise SystemExit(f"{output.name} kept {stored} of {rows} images.")
    took = max(path.stat().st_mtime for path in output.rglob(f"*.{ending}")) - first()
    return rows / took, (_processor() - before) / rows * 1000


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kept(output: Path) -> int:
    """Return how many images are in the shards of `output`."""
    count = 0
    for path in output.rglob("*.tar"):
        with tarfile.open(path) as archive:
            count += sum(name.endswith(".jpg") for name in archive.getnames())
    return count


def measure(
    peer: Path, rows: int, rounds: int, threads: int, hosts: int, latency: float
) -> dict[str, list[tuple[float, float]]]:
    """Return of each program, round by round, images a second and the processor's seconds for a thousand."""
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name, serving(rows, latency) as (port, first):
        folder = Path(name)
        urls = table(folder, rows, hosts, port)
        (folder / "peer.py").write_text(PEER)
        programs = {"impasto": [sys.executable, "-c", IMPASTO, str(urls), str(folder / "impasto"), str(threads)]}
        for how in PEERS:
            programs[how] = [str(peer), str(folder / "peer.py"), str(urls), str(folder / how), str(threads), how]
        for turn in range(rounds):
            for which in list(programs) if turn % 2 == 0 else list(reversed(programs)):
                ending = "parquet" if which == "impasto" else "tar"
                found.setdefault(which, []).append(one := rate(programs[which], folder / which, first, ending, rows))
                words = f"{which:8} {one[0]:8.1f} images/s, {one[1]:6.2f} s of the processor for 1,000"
                print(f"round {turn + 1}: {words}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure, and print rates and ratios."""
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]), float(sys.argv[3])))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", type=Path, required=True, help="the Python that has img2dataset")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--hosts", type=int, default=50, help="of 127.0.0.0/24")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer")
    chosen = vars(parser.parse_args())
    found = measure(**chosen)
    ratios = {
        how: [own[0] / other[0] for own, other in zip(found["impasto"], found[how], strict=True)] for how in PEERS
    }
    rates = {which: [one[0] for one in each] for which, each in found.items()}
    used = {which: [one[1] for one in each] for which, each in found.items()}
    told = {"images/s": rates, "processor, s for 1,000": used, "images/s of Impasto to those of img2dataset": ratios}
    middles = {what: {k: round(statistics.median(v), 2) for k, v in each.items()} for what, each in told.items()}
    print(json.dumps({**chosen, "peer": "img2dataset", **middles}, indent=1))


if __name__ == "__main__":
    main()
