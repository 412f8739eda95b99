"""Errors as exit codes: 0 done, 1 failed, 2 usage or invalid input, 3 not found, 4 database unreachable,
5 conflict or fenced, 130 interrupted, 141 the reader of the output went away."""

from __future__ import annotations

from session_continuity.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    SessionContinuityError,
    Unavailable,
)

FAILED, USAGE, INTERRUPTED, READER_GONE = 1, 2, 130, 141

_FAMILIES: tuple[tuple[type[SessionContinuityError], int], ...] = (
    (InvalidInput, USAGE),
    (NotFound, 3),
    (Unavailable, 4),
    (Conflict, 5),
)


def exit_code(error: SessionContinuityError) -> int:
    """The exit code of an error's family."""
    return next((code for family, code in _FAMILIES if isinstance(error, family)), FAILED)
