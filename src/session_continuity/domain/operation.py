"""How a rule asks for rows without doing I/O.

An operation's steps are a generator: it yields named statements, is sent their rows, and returns a record.
A blocking and an awaiting runner drive it (`postgres/database.py`); the rule itself never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

Rows: TypeAlias = list[tuple[Any, ...]]


ALL_PROJECTS: Final[Mapping[str, None]] = {"projects": None}
"""Among the parameters of every statement over many sessions; `project_view` puts a list in its place."""


class Statement(NamedTuple):
    """A statement of `postgres/queries`, by name, with all values as parameters."""

    name: str
    parameters: Mapping[str, Any]


Steps: TypeAlias = Generator[Statement, Rows, T]


class Contended(Exception):
    """Raised by steps that others were faster than again and again; the runner then takes `locked`."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One call of the product. `steps` can be started again, so a lost connection is answered by a retry:
    every operation is idempotent, writes by their operation id. `atomic` ones run in one transaction."""

    name: str
    steps: Callable[[], Steps[T]]
    atomic: bool = False
    locked: Callable[[], Steps[T]] | None = None
    """The steps to take in one transaction when `steps` raised Contended."""

    def under_lock(self) -> Operation[T]:
        return Operation(self.name, self.locked or self.steps, atomic=True)
