"""Put a finished model run, and the manifest of the corpus it learned from, into the package as Glyph.

python tools/ship_glyph.py runs/words-2 corpora/glyph --earlier runs/glyph runs/words runs/glyph-2

The runs behind `--earlier` are the stages that the model went through, the first one first: their receipts go with it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from impasto.corpus.store import Corpus
from impasto.receipt import Receipt
from impasto.rights.receipts import EARLIER
from impasto.schema import read_json
from impasto.weights.load import load_folder

PACKAGED = Path(__file__).parents[1] / "src" / "impasto" / "glyph"
MOST_BYTES = 60_000_000
MANIFEST = ("corpus.json", "plan.toml", "policy.toml", "rows.parquet", "refused.parquet")


def main(run: Path, corpus: Path, earlier: Sequence[Path]) -> int:
    """Check that model, receipt and corpus belong together, and copy them; return the exit code."""
    model = run / "model"
    receipt = Receipt.parse(read_json(model / "receipt.json"), str(model))
    loaded = load_folder(model)
    if receipt.identity != loaded.digest:
        print(f"{model} has digest {loaded.digest}; its receipt is for {receipt.identity}.", file=sys.stderr)
        return 1
    root = Corpus.open(corpus).root
    if any(use.root != root for use in receipt.corpora):
        print(f"{model} learned from {[use.root for use in receipt.corpora]}; {corpus} is {root}.", file=sys.stderr)
        return 1
    made_from = {parent.identity for parent in receipt.parents}
    stages = [stage / "model" / "receipt.json" for stage in earlier]
    for stage in stages:
        if Receipt.parse(read_json(stage), str(stage)).identity not in made_from:
            print(f"{model} was not made from {stage.parent}, which was given with --earlier.", file=sys.stderr)
            return 1
    if (size := sum(file.stat().st_size for file in model.rglob("*.safetensors"))) > MOST_BYTES:
        print(f"{model} has {size:,} bytes of weights; Glyph has at most {MOST_BYTES:,}.", file=sys.stderr)
        return 1
    if PACKAGED.exists():
        shutil.rmtree(PACKAGED)
    shutil.copytree(model, PACKAGED)
    (PACKAGED / EARLIER).mkdir()
    for number, stage in enumerate(stages, start=1):
        shutil.copyfile(stage, PACKAGED / EARLIER / f"{number}.json")
    (PACKAGED / "corpus").mkdir()
    for name in MANIFEST:
        shutil.copyfile(corpus / name, PACKAGED / "corpus" / name)
    print(f"{PACKAGED}: {loaded.digest}, {size:,} bytes of weights")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--earlier", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    sys.exit(main(options.run, options.corpus, options.earlier))
