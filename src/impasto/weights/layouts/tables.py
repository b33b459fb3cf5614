"""Configurations of other projects read and written as tables: every key has a row, and an unknown key is an error.

A row says which field of ours a key gives, or the one value of it that is built here, or that the key says nothing
about the network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from impasto.errors import UnsupportedConfig

Config = Mapping[str, Any]


def _as_it_is(value: Any, _: Config) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Field:
    """A key that gives a field of ours.

    Attributes:
        name: of our field. Several keys may give the same one; they must agree.
        default: what the other project takes when the key is absent.
        read: (their value, their whole config) -> our value; ValueError when there is none.
        write: (our value, all our values) -> their value.
    """

    name: str
    default: Any
    read: Callable[[Any, Config], Any] = _as_it_is
    write: Callable[[Any, Config], Any] = _as_it_is


@dataclass(frozen=True)
class ConfigTable:
    """The table of one kind of configuration file.

    Attributes:
        fields: keys that give our fields.
        fixed: keys of which one value is built here, which is also what the other project takes when the key is absent.
        ignored: keys that say nothing about the network; read over, not written.
        header: keys to write besides, such as the class that another project is to build.
    """

    fields: Mapping[str, Field]
    fixed: Config
    ignored: Collection[str]
    header: Config

    def read(self, config: Config, where: str) -> dict[str, Any]:
        """Return our fields' values from their `config`; `where` names its origin in messages.

        Raises:
            UnsupportedConfig: unknown keys, values that are not built here, keys that contradict one another.
        """
        problems = [f"{key}: unknown (given: {config[key]!r:.80})" for key in config if not self._knows(key)]
        for key, wanted in self.fixed.items():
            if (given := config.get(key, wanted)) != wanted:
                problems.append(f"{key}: {given!r:.80}; only {wanted!r} is supported")
        values: dict[str, Any] = {}
        for key, field in self.fields.items():
            given = config.get(key, field.default)
            try:
                value = field.read(given, config)
            except (ValueError, TypeError, KeyError) as error:
                problems.append(f"{key}: {given!r:.80}; {error}")
                continue
            if values.setdefault(field.name, value) != value:
                problems.append(f"{key}: {given!r:.80} contradicts another key, which gives {values[field.name]!r}")
        if problems:
            raise UnsupportedConfig(where, problems)
        return values

    def write(self, values: Config) -> dict[str, Any]:
        """Return their config for our fields' `values`."""
        fields = {key: field.write(values[field.name], values) for key, field in self.fields.items()}
        return {**self.header, **dict(sorted({**fields, **self.fixed}.items()))}

    def _knows(self, key: str) -> bool:
        return key in self.fields or key in self.fixed or key in self.ignored or key in self.header
