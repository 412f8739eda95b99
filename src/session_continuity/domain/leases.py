"""Leases: which process does what is to be done once for the whole fleet.

A lease is a row with an end on the database clock, so it works behind a pooler that hands every transaction
another connection. It spares work and is no guarantee: what a holder changes is guarded by each statement's own
conditions, since a holder that was paused may go on after its lease has passed to another.
"""

from __future__ import annotations

from collections.abc import Sequence

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.operation import Operation, Statement, Steps
from session_continuity.domain.payload import check_text

LEASE_SECONDS = 30.0
"""How long a lease lasts that is not renewed."""

_LONGEST_SECONDS = 600.0
"""No lease is given for longer, so one that ends later was written under another clock and holds nobody off."""


def hold_leases(names: Sequence[str], *, holder: str, seconds: float = LEASE_SECONDS) -> Operation[dict[str, int]]:
    """Take the leases of these names that are free, and renew those that the holder has. Returns those it holds
    now, each with its epoch, which grows whenever the lease is taken anew. The lease ends `seconds` after the call
    reached the database; count from before the call. Raises InvalidInput."""
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise InvalidInput(f"a lease lasts up to {_LONGEST_SECONDS:g} seconds", code="lease_seconds_range")
    parameters = {
        "names": [check_text("name", name, 100) for name in names],
        "holder": check_text("holder", holder, 200),
        "seconds": seconds,
        "longest": _LONGEST_SECONDS,
    }

    def steps() -> Steps[dict[str, int]]:
        rows = yield Statement("hold_leases", parameters)
        return {row[0]: row[1] for row in rows}

    return Operation("hold_leases", steps)


def release_leases(*, holder: str) -> Operation[list[str]]:
    """Give up every lease of the holder, so that another one can take it at once. Returns their names."""
    parameters = {"holder": check_text("holder", holder, 200)}

    def steps() -> Steps[list[str]]:
        rows = yield Statement("release_leases", parameters)
        return [row[0] for row in rows]

    return Operation("release_leases", steps)
