"""The names of spool records: what they say, and that they lead nowhere but into the spool."""

from __future__ import annotations

import os
import re
import time
from typing import NamedTuple

from session_continuity.domain.errors import InvalidInput

_HARNESS = "[a-z0-9][a-z0-9-]{0,31}"
_EVENT = "[A-Za-z][A-Za-z0-9._-]{0,63}"
_NUMBER = "0|[1-9][0-9]{0,9}"
_HOST = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME = re.compile(
    rf"({_HARNESS})@({_EVENT})@({_NUMBER})@({_NUMBER})-([A-Za-z0-9-]{{8,64}})(?:@({_HOST}))?", re.ASCII
)


class RecordName(NamedTuple):
    """`<harness>@<event>@<client pid>@<turn>-<random>[@<host>]`: client pid 0 is unknown; of two records of a
    client, the later has the higher turn (a hook gives its own pid); host only on records of other machines."""

    harness: str
    event: str
    client_pid: int
    turn: int
    random: str
    host: str | None

    def __str__(self) -> str:
        host = "" if self.host is None else f"@{self.host}"
        return f"{self.harness}@{self.event}@{self.client_pid}@{self.turn}-{self.random}{host}"


def parse_name(name: str) -> RecordName:
    """What a record's name says. Raises InvalidInput when it is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidInput(f"{name!r} is not the name of a spool record", code="record_name")
    harness, event, client_pid, turn, random, host = match.groups()
    return RecordName(harness, event, int(client_pid), int(turn), random, host)


def is_name(name: str) -> bool:
    """Whether this is the name of a record."""
    return _NAME.fullmatch(name) is not None


def make_name(harness: str, event: str, *, client_pid: int | None = None, host: str | None = None) -> RecordName:
    """A new name, never given before. Raises InvalidInput for what can't stand in it."""
    random = f"{time.monotonic_ns():016x}-{os.urandom(8).hex()}"
    return parse_name(str(RecordName(harness, event, client_pid or 0, os.getpid(), random, host)))
