"""The shape of a service: settings checked when it is made, and one bounded pass that reports what it did.

A fleet-wide service is run by whoever holds the lease of its name. The lease is no lock: a pass must stand another
one beside it, whether of a holder that was paused, of a clock that jumped or of a person who runs one now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from session_continuity.client import SessionContinuity
from session_continuity.domain.operation import Operation

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one bounded pass did: how many things it changed, whether there is `more` to do at once, and its
    figures in plain words, for the log, `continuity services list` and metrics."""

    done: int
    more: bool = False
    report: Mapping[str, int | str] = field(default_factory=dict[str, "int | str"])


class Service(Protocol):
    """Work that repeats. `name` is the same word in log, command line and metrics; `interval_seconds` lie between
    two passes; a `fleet_wide` one runs where the lease of its name is held, others in every resident process."""

    @property
    def name(self) -> str: ...

    @property
    def interval_seconds(self) -> float: ...

    @property
    def fleet_wide(self) -> bool: ...

    def run_once(self, client: SessionContinuity) -> Pass:
        """One pass, of some seconds at most. Raises what the client raises."""
        ...


class PassEnded(Exception):
    """The pass has to end here: the service is being stopped, or its lease could not be renewed in time."""


class BoundClient(SessionContinuity):
    """A client on the connections of another one, for one pass: asks before every operation whether the pass may
    go on, and raises PassEnded when it may not."""

    def __init__(self, client: SessionContinuity, may_go_on: Callable[[], bool]) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.settings = client.settings
        self._client, self._may_go_on = client, may_go_on

    @property
    def unbound(self) -> SessionContinuity:
        """The client itself, for what must be noted although the pass has to end."""
        return self._client

    def run(self, operation: Operation[T]) -> T:
        if not self._may_go_on():
            raise PassEnded
        return self._client.run(operation)

    def close(self) -> None:
        """Nothing: the connections are the other client's."""
