"""Everything that Impasto raises on purpose, in one tree.

    ImpastoError
    ├── InvalidInput          a value that a person or a file gave is not usable
    │   ├── InvalidPlan       a training or corpus plan does not parse or contradicts itself
    │   └── InvalidRecipe     a recipe that cannot be run
    ├── NotFound              a name or path that leads nowhere; the message lists what there is
    ├── WeightsError          a file of weights and the model it is meant for do not agree
    │   ├── UnreadableWeights     not a well-formed file of a kind that is read here
    │   ├── KeyMismatch           unknown or missing tensors; lists both sets
    │   ├── UnsupportedConfig     asks for a network that is not built here; lists every reason
    │   ├── WeightsChanged        a file in the store is not what was put there
    │   └── ReceiptMismatch       a model is not what its receipt says
    ├── Offline               a connection to elsewhere, where the network was forbidden
    ├── PullFailed            a model that cannot be had from its hub, or is not what the hub promised
    ├── PushFailed            a release that cannot be brought to a hub, or did not arrive as it was sent
    ├── PictureFailed         a picture that cannot be finished: the networks gave no finite numbers
    ├── CredentialError       credentials of a picture that cannot be made or read
    ├── CorpusError           a corpus that is damaged or must not be used
    │   ├── CorpusChanged         rows or images differ from what the root promises
    │   ├── RowRefused            a row that the policy does not admit was about to be used
    │   └── SourceUnavailable     a source could not be fetched or is not what was pinned
    ├── TrainingError         a run that cannot go on
    │   ├── NotFinite             the loss or a weight became NaN or infinite; names the step
    │   └── StateMismatch         a saved state belongs to another plan
    └── ServerError           a server that cannot be reached, or that could not do what it was asked
        └── JobFailed             a job of a server that ended without its pictures

A message says what is wrong, with which value, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable


def printable(name: str) -> str:
    """Return `name`, which comes out of a file, without what would steer the terminal that it is printed on."""
    return name if name.isprintable() else repr(name)


class ImpastoError(Exception):
    """Base of every error that Impasto raises on purpose."""


class InvalidInput(ImpastoError):
    """A value that a person or a file gave is not usable."""


class InvalidPlan(InvalidInput):
    """A training or corpus plan does not parse or contradicts itself."""


class InvalidRecipe(InvalidInput):
    """A recipe that cannot be run."""


class NotFound(ImpastoError):
    """A name or path that leads nowhere."""

    @classmethod
    def among(cls, what: str, name: str, choices: Iterable[str]) -> NotFound:
        """Build the error for an unknown `name` of a kind `what`, listing the `choices`."""
        return cls(f"Unknown {what} {name!r}. Choose one of: {', '.join(sorted(choices))}.")


class WeightsError(ImpastoError):
    """A file of weights and the model it is meant for do not agree."""


class UnreadableWeights(WeightsError):
    """Not a well-formed file of a kind that is read here."""


class KeyMismatch(WeightsError):
    """Unknown or missing tensors, or tensors of the wrong shape.

    Attributes:
        unknown: names in the file that have no place in the model.
        missing: names in the model that the file does not fill.
        misshapen: `name: (shape in the file) for (shape in the model)`, one a tensor.
    """

    def __init__(
        self, where: str, unknown: Iterable[str], missing: Iterable[str], misshapen: Iterable[str] = ()
    ) -> None:
        self.unknown, self.missing, self.misshapen = sorted(unknown), sorted(missing), sorted(misshapen)
        groups = (("unknown", self.unknown), ("missing", self.missing), ("wrong shape", self.misshapen))
        listing = "".join(
            f"\n  {label} ({len(names)}): {', '.join(map(printable, names))}" for label, names in groups if names
        )
        super().__init__(f"{where} does not fit the model; nothing was loaded.{listing}")


class UnsupportedConfig(WeightsError):
    """A model's configuration asks for something that is not built here.

    Attributes:
        problems: every reason: the key, its value, and what is supported.
    """

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__(f"{where} asks for what is not supported:" + "".join(f"\n  {line}" for line in self.problems))


class WeightsChanged(WeightsError):
    """A file in the store is not what was put there."""


class ReceiptMismatch(WeightsError):
    """A model is not what its receipt says."""


class Offline(ImpastoError):
    """A connection to elsewhere, where the network was forbidden."""


class PullFailed(ImpastoError):
    """A model that cannot be had from its hub, or is not what the hub promised."""


class PushFailed(ImpastoError):
    """A release that cannot be brought to a hub, or did not arrive as it was sent."""


class PictureFailed(ImpastoError):
    """A picture that cannot be finished: the networks gave no finite numbers."""


class CredentialError(ImpastoError):
    """Credentials of a picture that cannot be made or read."""


class CorpusError(ImpastoError):
    """A corpus that is damaged or must not be used."""


class CorpusChanged(CorpusError):
    """Rows or images differ from what the corpus root promises."""


class RowRefused(CorpusError):
    """A row that the policy does not admit was about to be used."""


class SourceUnavailable(CorpusError):
    """A source could not be fetched or is not what was pinned."""


class TrainingError(ImpastoError):
    """A run that cannot go on."""


class NotFinite(TrainingError):
    """The loss or a weight became NaN or infinite."""


class StateMismatch(TrainingError):
    """A saved state belongs to another plan."""


class ServerError(ImpastoError):
    """A server that cannot be reached, or that could not do what it was asked."""


class JobFailed(ServerError):
    """A job of a server that ended without its pictures.

    Attributes:
        code: of the job's error, or `cancelled`.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)
