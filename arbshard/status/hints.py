"""Completes commands in texts for people: they name the instance where its name is not the default one. Pure."""

import re

from arbshard.config import Config

_COMMAND = re.compile(r"(?P<quote>['`])(?P<command>arbshard [^'`]+)(?P=quote)")
_DEFAULT = Config().name


def name_instance(text: str, name: str) -> str:
    """Return ``text`` with ``--name NAME`` in each command that it quotes, so that it can be copied as it is."""
    if name == _DEFAULT:
        return text
    return _COMMAND.sub(
        lambda found: (
            f"{found['quote']}{found['command']}{found['quote']}"
            if "--name" in found["command"]
            else f"{found['quote']}{found['command']} --name {name}{found['quote']}"
        ),
        text,
    )
