"""The parameters that tools share: bounded, and described in the words that an agent needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from pydantic import BeforeValidator, Field, WithJsonSchema

from session_continuity.domain.durations import parse_duration
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.payload import check_text

_TEXT = {"type": "string"}


def _text(value: Any) -> Any:
    """A text that the store takes, where no rule of the records looks at it before the database does."""
    return check_text("text", value, 10_000) if isinstance(value, str) and value else value


def _moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        try:
            return datetime.now(UTC) - parse_duration(value)
        except (InvalidInput, OverflowError):
            raise ValueError("write ISO 8601 with a zone, or how long ago it is, like 2h") from None
    if moment.tzinfo is None:
        raise ValueError("has no time zone; end it with Z or an offset")
    return moment


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except InvalidInput as error:
        raise ValueError(error.message) from None


def _uuid(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return UUID(value)
    except ValueError:
        raise ValueError("is not a UUID") from None


def _schema(**keywords: Any) -> WithJsonSchema:
    return WithJsonSchema({**_TEXT, **keywords})


Name: TypeAlias = Annotated[str, Field(max_length=200), BeforeValidator(_text)]
LongText: TypeAlias = Annotated[str, Field(max_length=2_000), BeforeValidator(_text)]

InstanceId: TypeAlias = Annotated[str, Field(max_length=80)]
"""Like demo-PS-abc123; said once, in the instructions: 20 parameters are of this type."""

OperationId: TypeAlias = Annotated[str, Field(max_length=200, description="Repeat it on a retry: written once.")]
Percent: TypeAlias = Annotated[int, Field(ge=0, le=100)]
SequenceNum: TypeAlias = Annotated[int, Field(ge=0, le=2**62)]
Milliseconds: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]

Moment: TypeAlias = Annotated[
    datetime, BeforeValidator(_moment), _schema(maxLength=60, description="ISO 8601 with zone, or ago: 2h.")
]
Duration: TypeAlias = Annotated[
    timedelta, BeforeValidator(_duration), _schema(maxLength=60, description="Like 30m, 2h, 7d.")
]
Uuid: TypeAlias = Annotated[UUID, BeforeValidator(_uuid), _schema(format="uuid")]

JsonObject: TypeAlias = dict[str, Any]

Limit: TypeAlias = Annotated[int, Field(ge=1, le=100)]
Cursor: TypeAlias = Annotated[str, Field(max_length=200, description="next_cursor before.")]
FieldNames: TypeAlias = Annotated[list[str], Field(max_length=40, description="Only these, uncut.")]
Budget: TypeAlias = Annotated[int, Field(ge=300, le=20_000, description="Most tokens of the brief.")]
