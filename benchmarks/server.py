"""Many clients at one server: how long they wait, how many pictures a minute come out, and that none is lost.

    python benchmarks/server.py --model glyph                    64 clients, 128 pictures, batches of 1, 2, 4, 8
    python benchmarks/server.py --shape glyph --steps 4          a random model of that shape; speed is the same

For each batch size a server is started anew. Every client asks for a picture, waits for it, and asks for the next.
Afterwards each picture that was asked for has to be in the library exactly once.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from impasto.models.clip import CLIPTextEncoder
from impasto.models.specs import SPECS
from impasto.models.tokenizer import CLIPTokenizer
from impasto.models.unet import UNet
from impasto.models.vae import AutoencoderKL
from impasto.weights.checkpoint import About
from impasto.weights.load import Networks, save_folder

LOOK_SECONDS = 0.1
PATIENCE = 3600.0


@dataclass(frozen=True)
class Load:
    """What the clients ask for.

    Attributes:
        clients: at the same time.
        pictures: in all.
        steps: of each; None for the model's own.
        sizes: batch sizes to try, each with a server of its own.
    """

    clients: int
    pictures: int
    steps: int | None
    sizes: Sequence[int]


@dataclass(frozen=True)
class Measured:
    """How one server did.

    Attributes:
        batch: pictures at a time at most.
        seconds: for all pictures.
        waits: from the request of each picture to its end, in seconds.
    """

    batch: int
    seconds: float
    waits: Sequence[float]

    def line(self) -> str:
        """Return the row of the table."""
        p50, p95 = (statistics.quantiles(self.waits, n=100, method="inclusive")[k - 1] for k in (50, 95))
        return f"{self.batch:>5}  {60 * len(self.waits) / self.seconds:>18.1f}  {p50:>8.2f}  {p95:>8.2f}"


def random_model(name: str, folder: Path) -> str:
    """Write a random model of the shape called `name` into `folder`, and return its path."""
    spec = SPECS[name]
    tokenizer = CLIPTokenizer.packaged(spec.text.vocab_size - 514)
    parts = (CLIPTextEncoder(spec.text), UNet(spec.unet), AutoencoderKL(spec.vae))
    text_encoder, unet, vae = (part.eval().requires_grad_(False) for part in parts)
    save_folder(folder / name, Networks(spec, tokenizer, text_encoder, unet, vae), About(name=f"random {name}"))
    return str(folder / name)


@contextmanager
def served(model: str, batch: int, clients: int) -> Iterator[httpx2.Client]:
    """Run a server in a process of its own, and yield a client of it once it is ready."""
    code = "import sys; from impasto.cli import main; sys.exit(main(sys.argv[1:]))"
    with tempfile.TemporaryDirectory() as data:
        words = ["serve", "--model", model, "--data", data, "--port", "0", "--log-level", "error"]
        words += ["--batch", str(batch), "--batch-pixels", str(10**9)]
        with subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE) as process:
            assert process.stdout
            url = process.stdout.readline().decode().strip()
            limits = httpx2.Limits(max_connections=clients + 1)
            try:
                with httpx2.Client(base_url=url, timeout=PATIENCE, limits=limits) as http:
                    while http.get("/api/ready").status_code != 200:
                        time.sleep(LOOK_SECONDS)
                    yield http
            finally:
                process.send_signal(signal.SIGTERM)


def waited(http: httpx2.Client, seed: int, steps: int | None) -> tuple[str, float]:
    """Ask for a picture, wait for it, and return its job and how long that took."""
    started = time.perf_counter()
    said: dict[str, Any] = {"prompt": f"picture {seed}", "seed": seed, **({"steps": steps} if steps else {})}
    answer = http.post("/api/jobs", json=said)
    answer.raise_for_status()
    job = answer.json()
    with http.stream("GET", f"/api/jobs/{job['id']}/events") as lines:
        events = (json.loads(line.removeprefix("data: ")) for line in lines.iter_lines() if line.startswith("data: "))
        for event in events:
            if event["id"] == job["id"]:
                job = event
    if job["state"] != "done":
        raise SystemExit(f"The job for seed {seed} is {job['state']}: {job['error']}")
    return str(job["id"]), time.perf_counter() - started


def measured(model: str, batch: int, load: Load) -> Measured:
    """Return how a server that makes up to `batch` pictures at a time does under `load`."""
    with served(model, batch, load.clients) as http:
        waited(http, 0, 1)  # the model is loaded
        started = time.perf_counter()
        with ThreadPoolExecutor(load.clients) as pool:
            results = list(pool.map(lambda seed: waited(http, seed, load.steps), range(1, load.pictures + 1)))
        seconds = time.perf_counter() - started
        check(http, [job for job, _ in results], load.pictures)
    return Measured(batch, seconds, [wait for _, wait in results])


def check(http: httpx2.Client, jobs: Sequence[str], pictures: int) -> None:
    """End the program unless every job has its one picture, and there are no others."""
    found, before = [], None
    while True:
        page = http.get("/api/pictures", params={"limit": 200, **({"before": before} if before else {})}).json()
        found += [(picture["job"], picture["seed"]) for picture in page["pictures"] if picture["seed"]]
        before = page["next"]
        if before is None:
            break
    if sorted(found) != sorted(zip(jobs, range(1, pictures + 1), strict=True)):
        raise SystemExit(f"{pictures} pictures were asked for; the library has {len(found)}, or not the same ones.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="glyph", help="name or path of a model")
    which.add_argument("--shape", choices=sorted(SPECS), help="a random model of this shape instead")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--steps", type=int, help="of each picture; left out, the model's own")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    words = parser.parse_args()
    load = Load(words.clients, words.pictures, words.steps, words.batch)
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(words.shape, Path(folder)) if words.shape else words.model
        print(f"{load.clients} clients, {load.pictures} pictures, {load.steps or 'own'} steps; waiting in seconds")
        print(f"{'batch':>5}  {'pictures a minute':>18}  {'p50':>8}  {'p95':>8}")
        results = []
        for batch in load.sizes:
            results.append(measured(model, batch, load))
            print(results[-1].line(), flush=True)
    print(f"Each of {len(load.sizes)} x {load.pictures} pictures was there exactly once.")
    if words.json:
        rows = [{"batch": each.batch, "seconds": each.seconds, "waits": each.waits} for each in results]
        words.json.write_text(json.dumps({"clients": load.clients, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
