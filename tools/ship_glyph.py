"""Put a finished model run, and the manifest of the corpus it learned from, into the package as Glyph.

python tools/ship_glyph.py runs/glyph corpora/glyph
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from impasto.corpus.store import Corpus
from impasto.receipt import Receipt
from impasto.schema import read_json
from impasto.weights.load import load_folder

PACKAGED = Path(__file__).parents[1] / "src" / "impasto" / "glyph"
MOST_BYTES = 60_000_000
MANIFEST = ("corpus.json", "plan.toml", "policy.toml", "rows.parquet", "refused.parquet")


def main(run: Path, corpus: Path) -> int:
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
    if (size := sum(file.stat().st_size for file in model.rglob("*.safetensors"))) > MOST_BYTES:
        print(f"{model} has {size:,} bytes of weights; Glyph has at most {MOST_BYTES:,}.", file=sys.stderr)
        return 1
    if PACKAGED.exists():
        shutil.rmtree(PACKAGED)
    shutil.copytree(model, PACKAGED)
    (PACKAGED / "corpus").mkdir()
    for name in MANIFEST:
        shutil.copyfile(corpus / name, PACKAGED / "corpus" / name)
    print(f"{PACKAGED}: {loaded.digest}, {size:,} bytes of weights")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
