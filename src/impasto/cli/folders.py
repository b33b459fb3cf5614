"""`impasto folders`: other tools' folders, used where they lie."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App
from rich.console import Console

app = App(name="folders", help="Use the models, adapters and embeddings of other tools where they lie.")


@app.command
def add(folder: Path, /) -> None:
    """Find models, adapters and embeddings in a folder from now on; nothing in it is copied or changed.

    The folders of A1111 (and Forge), ComfyUI with its extra_model_paths.yaml, and InvokeAI are known; any other folder
    is looked through whole.

    Args:
        folder: the tool's own, or any.
    """
    from impasto.weights.facts import remembered
    from impasto.weights.folders import Registered, items, tool

    console = Console(stderr=True)
    with console.status(f"Looking through {folder} ..."), remembered() as facts:
        found = [item for item in items(folder, facts) if item.kind]
    Registered().add(folder)
    known = tool(folder)
    whose = f"{known.name}'s folder" if known else "a folder"
    console.print(f"{whose} with {len(found)} that can be used; `impasto list` names them.", soft_wrap=True)
    print(folder.resolve())


@app.command
def remove(folder: Path, /) -> None:
    """Look into a folder no more; nothing in it is touched.

    Args:
        folder: as it was added.
    """
    from impasto.weights.folders import Registered

    Registered().remove(folder)


@app.command(name="list")
def list_() -> None:
    """Name the folders that were added."""
    from impasto.weights.folders import Registered

    for path in Registered().all():
        print(path if path.is_dir() else f"{path} (not there now)")
