"""Reads settings from environment variables: ``ARBSHARD__RUN__SHARDS=8`` sets ``run.shards``. The code is pure."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_origin

from msgspec.structs import fields

from arbshard.config.root import Config
from arbshard.config.section import Section
from arbshard.errors import ConfigError

PREFIX = "ARBSHARD__"


class EnvironmentSetting(NamedTuple):
    """Is one environment variable that sets a key of the configuration."""

    variable: str
    path: tuple[str, ...]
    text: str

    @property
    def key(self) -> str:
        """Return the key that it sets, with dots as in a file."""
        return ".".join(self.path)

    def readings(self) -> Iterator[Any]:
        """Yield what the text may mean: itself, which is right for most keys, or what it is as a TOML value.

        The second is right for lists and tables. Which of them fits is known by the type of the key.
        """
        yield self.text
        try:
            yield tomllib.loads(f"value = {self.text}")["value"]
        except tomllib.TOMLDecodeError:
            return

    def tree(self, value: Any) -> dict[str, Any]:
        """Return ``value`` at the path of this setting, nested like a file."""
        tree: Any = value
        for name in reversed(self.path):
            tree = {name: tree}
        return dict(tree)


def settings_of(environ: Mapping[str, str]) -> list[EnvironmentSetting]:
    """Return the settings in ``environ``, a table before the keys in it. Raises ``ConfigError``."""
    return [
        EnvironmentSetting(variable, _path_of(variable), environ[variable])
        for variable in sorted(environ)
        if variable.startswith(PREFIX)
    ]


def _path_of(variable: str) -> tuple[str, ...]:
    """Return the path of the key that ``variable`` sets. Raises ``ConfigError``.

    Keys are in lower case, except those of free tables, such as currencies, which stay as they are written.
    """
    path: list[str] = []
    kind: Any = Config
    for name in variable.removeprefix(PREFIX).split("__"):
        if not name:
            raise ConfigError(
                variable, "names no key: write it as ARBSHARD__RUN__SHARDS, which sets run.shards"
            )
        key = name if get_origin(kind) is dict else name.lower()
        path.append(key)
        kind = _type_below(kind, key)
    return tuple(path)


def _type_below(kind: Any, key: str) -> Any:
    """Return the type of ``key`` in a section; None where it is unknown."""
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return None
    return next((field.type for field in fields(kind) if field.name == key), None)
