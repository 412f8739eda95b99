"""The tree of errors. Every error carries a stable `code` that all faces show.

SessionContinuityError
├── NotFound             nothing by that name
├── Conflict             the store holds something else than the caller assumed
│   ├── Fenced           another instance took the thread over; this one may write no more
│   ├── SequenceConflict the stream is not at the expected sequence number
│   └── OperationConflict the operation id was used before with another body
├── InvalidInput         the input breaks a rule of the records; nothing was written
│   └── Ambiguous        several sessions match; the matches are listed
├── Unavailable          the database can't be reached or did not answer in time
│   └── DeadlineExceeded the call's deadline passed; a write may or may not have happened
├── Refused              the state of the database or machine forbids the action
└── Forbidden            the caller's token does not admit to it
"""

from __future__ import annotations

from typing import Any, ClassVar


class SessionContinuityError(Exception):
    """Base of all errors: `code` is stable, `details` holds plain JSON values for programs."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self._code = code

    @property
    def stable_code(self) -> str:
        """The code of this very error; a family member may refine its class's code."""
        return self._code or self.code

    def as_json(self) -> dict[str, Any]:
        """The error as every face prints it."""
        return {"error": self.stable_code, "message": self.message, **self.details}


class NotFound(SessionContinuityError):
    """Nothing is stored under that name; check it with the list command of the same group."""

    code = "not_found"


class Conflict(SessionContinuityError):
    """The store holds something else than the caller assumed; read again, then decide."""

    code = "conflict"


class Fenced(Conflict):
    """The thread was taken over; details name `successor` and `owner_epoch`. Stop writing as this instance."""

    code = "fenced"


class SequenceConflict(Conflict):
    """The stream is not where the caller expected it; details give `expected` and `actual`."""

    code = "sequence_conflict"


class OperationConflict(Conflict):
    """The operation id was used before with another body; use a new id for a new operation."""

    code = "operation_conflict"


class InvalidInput(SessionContinuityError):
    """The input breaks a rule of the records; the message says which and what is allowed."""

    code = "invalid_input"


class Ambiguous(InvalidInput):
    """Several sessions match; details list them as `matches`. Name one in full."""

    code = "ambiguous"


class Unavailable(SessionContinuityError):
    """The database can't be reached; retry later, with the same operation id for a write."""

    code = "unavailable"


class DeadlineExceeded(Unavailable):
    """The deadline passed; a write may have happened: retry with the same operation id to know."""

    code = "deadline_exceeded"


class Refused(SessionContinuityError):
    """What was asked is forbidden in this state; the message says what to do first."""

    code = "refused"


class Forbidden(SessionContinuityError):
    """The caller's token does not admit to what was asked; the message says what it would need."""

    code = "forbidden"
