"""What holds for the package as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "impasto"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What costs a good part of a second, or is only there for some commands.
HEAVY = {
    *("torch", "numpy", "pyarrow", "PIL", "pydantic", "safetensors", "tokenizers", "matplotlib", "resvg_py"),
    *("c2pa", "cryptography", "fastapi", "httpx2", "huggingface_hub", "mcp", "sqlalchemy", "usearch", "uvicorn"),
}

VAGUE = {"utils", "util", "common", "helpers", "helper", "core", "misc"}


def imported_by(statement: str) -> set[str]:
    """Run `statement` in a fresh interpreter and return the top-level names of what it imported."""
    code = f"import json, sys\n{statement}\nprint('\\n' + json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import impasto",
        "import impasto.cli",
        "from impasto.cli import main; assert main(['--help']) == 0",
        "from impasto.cli import main; assert main(['--version']) == 0",
        "from impasto.cli import main; assert main([]) == 0",
    ],
)
def test_nothing_heavy_is_imported_by(statement: str) -> None:
    assert not imported_by(statement) & HEAVY


@pytest.mark.parametrize("module", ["errors", "files", "schema", "recipe", "receipt", "corpus"])
def test_torch_is_not_imported_by(module: str) -> None:
    assert "torch" not in imported_by(f"import impasto.{module}")


def test_every_name_says_what_is_inside() -> None:
    vague = [str(m.relative_to(PACKAGE)) for m in MODULES if VAGUE & {m.stem, *m.relative_to(PACKAGE).parts[:-1]}]

    assert vague == []


def test_folders_are_at_most_two_deep() -> None:
    deep = [str(m.relative_to(PACKAGE)) for m in MODULES if len(m.relative_to(PACKAGE).parts) > 3]

    assert deep == []
