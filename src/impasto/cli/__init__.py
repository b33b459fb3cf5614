"""The `impasto` command: a table of commands, each in one file that is imported when it is asked for.

To add a command: one file in this folder and one row in `COMMANDS` (docs/adding-a-command.md).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import NamedTuple

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

import impasto
from impasto import offline
from impasto.errors import ImpastoError, InvalidInput, NotFound


class Command(NamedTuple):
    """A row of `COMMANDS`."""

    place: str  # "module:attribute", a function or an App
    line: str  # what `impasto --help` says of it: the first line of its own help


COMMANDS = {
    "generate": Command("impasto.cli.generate:generate", "Make pictures from a prompt."),
    "reproduce": Command(
        "impasto.cli.reproduce:reproduce",
        "Make a picture again from what its file says, and say whether every pixel is the same.",
    ),
    "grid": Command(
        "impasto.cli.grid:grid",
        "Make a sheet of one prompt under all combinations of some settings, with labelled axes.",
    ),
    "corpus": Command("impasto.cli.corpus:app", "Build, look at and verify a corpus."),
    "train": Command("impasto.cli.train:app", "Train a model from a plan, or teach one your own pictures."),
    "pull": Command(
        "impasto.cli.pull:pull",
        "Fetch a model, adapter or embedding from the Hugging Face hub into the store, once.",
    ),
    "list": Command(
        "impasto.cli.list:list_",
        "Say what models, adapters and embeddings there are: Impasto's own, pulled ones, and those of other tools.",
    ),
    "remove": Command(
        "impasto.cli.remove:remove", "Remove a pulled model, adapter or embedding and its files from the store."
    ),
    "folders": Command(
        "impasto.cli.folders:app", "Use the models, adapters and embeddings of other tools where they lie."
    ),
    "convert": Command(
        "impasto.cli.convert:convert",
        "Write a model in another layout: one file as Stable Diffusion was released (ldm), or a folder (diffusers).",
    ),
    "adapter": Command("impasto.cli.adapter:app", "Merge, extract, resize, convert and look at LoRAs and embeddings."),
    "inspect": Command(
        "impasto.cli.inspect:inspect",
        "Say what a file or folder of weights is: architecture, number formats, sizes, hashes, metadata, receipt.",
    ),
    "verify": Command(
        "impasto.cli.verify:verify",
        "Say what holds of a picture, a model, an adapter or a release, what was changed, and what is not known.",
    ),
    "lineage": Command(
        "impasto.cli.lineage:lineage",
        "Draw what a picture, model, adapter or embedding was made from: model, parts, adapters, corpus, makers.",
    ),
    "identity": Command("impasto.cli.identity:app", "Show, make or import the identity that signs pictures."),
    "trace": Command(
        "impasto.cli.trace:app",
        "Find the works of a model's corpus that a picture resembles, and say whose they are.",
    ),
    "release": Command(
        "impasto.cli.release:app",
        "Give a model, adapter or embedding away: weights, card, terms, credits, bill of materials, signed.",
    ),
    "serve": Command(
        "impasto.cli.serve:serve",
        "Serve pictures to browsers and programs: the studio at /, and the APIs that clients already speak.",
    ),
    "mcp": Command(
        "impasto.cli.mcp:mcp",
        "Give an assistant tools to make pictures, over standard input and output (Model Context Protocol).",
    ),
    "demo": Command("impasto.cli.demo:demo", "Draw a sheet of pictures with Glyph, the model that comes with Impasto."),
}

# What `pip install "impasto[EXTRA]"` brings, by the name it is imported under.
EXTRAS = {
    **{"resvg_py": "corpus", "matplotlib": "train", "usearch": "trace", "mcp": "mcp"},
    **dict.fromkeys(("protego", "http_sf", "urllib3"), "web"),
    **dict.fromkeys(("huggingface_hub", "httpx2", "filelock", "yaml"), "hub"),
    **dict.fromkeys(("model_signing", "OpenSSL", "license_expression"), "release"),
    **dict.fromkeys(
        ("fastapi", "uvicorn", "sqlalchemy", "prometheus_client", "multipart", "python_multipart"), "serve"
    ),
}

OFFLINE = "--offline"

HELP = f"""An open platform for open-weight text-to-image models.

With {OFFLINE} (or IMPASTO_OFFLINE=1) no command opens a connection that leaves this machine; else only pull
and corpus fetch do.
"""


def root(imported: Collection[str] = ()) -> App:
    """Return the whole command line.

    Args:
        imported: commands whose file may be imported for the sake of its help. For all others the line in `COMMANDS`
            stands, so that `impasto --help` imports none of them.
    """
    app = App(
        name="impasto",
        help=HELP,
        version=impasto.__version__,
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=()),  # leaving an option out is enough, no --no-x and --empty-x
    )
    for name, command in COMMANDS.items():
        app.command(command.place, name=name, help=None if name in imported else command.line)
    return app


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that `words` (`sys.argv` by default) name, and return the exit code.

    Returns:
        0, or what the command returned; 2 for words, values or names that cannot be used; 1 for any other
        `ImpastoError` and for an extra that is not installed; 130 when interrupted. Errors are one message on stderr.
    """
    words = sys.argv[1:] if words is None else words
    try:
        if OFFLINE in words or offline.asked():
            offline.cut()
        return _run([word for word in words if word != OFFLINE])
    except (InvalidInput, NotFound) as error:
        return _failed(str(error), code=2)
    except ImpastoError as error:
        return _failed(str(error), code=1)
    except ImportError as error:
        if extra := _missing_extra(error):
            return _failed(f'This needs the {extra!r} extra: pip install "impasto[{extra}]"', code=1)
        raise
    except KeyboardInterrupt:
        return _failed("Interrupted.", code=130)


def _run(words: Sequence[str]) -> int:
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        # Left to itself, the parser would import every command to say this.
        raise NotFound.among("command", words[0], COMMANDS)
    return int(root(imported=words[:1])(words, result_action="return_int_as_exit_code_else_zero"))


def _failed(message: str, code: int) -> int:
    text = Text.assemble(("Error: ", "bold red"), message)
    Console(stderr=True).print(text, soft_wrap=True, highlight=False)
    return code


def _missing_extra(error: ImportError) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name in EXTRAS:
            return EXTRAS[cause.name]
        cause = cause.__cause__
    return None
