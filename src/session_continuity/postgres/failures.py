"""Turns what PostgreSQL and psycopg raise into the product's errors.

Only the primary message is passed on: details would carry the failing row's captured text.
"""

from __future__ import annotations

import psycopg
from psycopg import errors

from session_continuity.domain.errors import (
    Conflict,
    DeadlineExceeded,
    Fenced,
    InvalidInput,
    NotFound,
    OperationConflict,
    Refused,
    SessionContinuityError,
    Unavailable,
)

_UNIQUE = {
    "supervisor_sessions_pkey": (
        "instance_id_taken",
        "the instance id is taken; leave it out to get a new one",
    ),
    "supervisor_sessions_thread_epoch_key": (
        "superseded",
        "another instance took the thread over at this moment",
    ),
    "event_store_instance_sequence_key": (
        "sequence_conflict",
        "the sequence number is taken; leave numbering to the store",
    ),
}

_RETRIED = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
_LOST = (
    psycopg.InterfaceError,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.DiskFull,
    errors.OutOfMemory,
    errors.QueryCanceled,
    *_RETRIED,
)
_NOT_SET_UP = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidCatalogName,
)


def translate(error: psycopg.Error) -> SessionContinuityError:
    """The product's error for a psycopg error. The caller raises it `from None`."""
    constraint = error.diag.constraint_name or ""
    message = error.diag.message_primary or str(error).strip().split("\n", 1)[0] or type(error).__name__
    match error:
        case errors.UniqueViolation():
            if constraint in _UNIQUE:
                code, text = _UNIQUE[constraint]
                return Conflict(text, code=code, constraint=constraint)
            return OperationConflict("the operation id was used before", constraint=constraint)
        case errors.ForeignKeyViolation():
            return NotFound(message, constraint=constraint)
        case errors.RaiseException() if constraint == "supervisor_sessions_fence":
            return Fenced(message, constraint=constraint)
        case errors.RaiseException() | errors.CheckViolation() | errors.NotNullViolation():
            return InvalidInput(message, code=constraint or "invalid_input", constraint=constraint)
        case errors.InsufficientPrivilege():
            return Refused(f"{message}; the role that connects needs the grants that `continuity db verify` lists")
        case _ if isinstance(error, _NOT_SET_UP):
            return Refused(f"{message}; run `continuity db upgrade`", code="not_set_up")
        case _ if isinstance(error, _LOST):
            return Unavailable(message)
        case errors.InvalidAuthorizationSpecification() | errors.InvalidPassword():
            return Refused(message, code="authentication")
        case psycopg.DataError():
            return InvalidInput(message, code="invalid_value")
        case psycopg.OperationalError():
            return Unavailable(message, code="starting" if "the database system is" in message else None)
        case _:
            return SessionContinuityError(message, code="database_error", sqlstate=error.sqlstate)


def deadline_exceeded(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"no answer within {seconds:g} s; the write may or may not have happened: retry with the same operation id"
    )
