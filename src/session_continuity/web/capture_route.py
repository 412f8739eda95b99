"""POST /capture: records of other machines into the spool, durably before the answer, once by their names."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from session_continuity.domain.errors import InvalidInput, SessionContinuityError
from session_continuity.web.access import require_scope
from session_continuity.web.refusals import RefusedRequest
from session_continuity.web.tokens import CAPTURE

MOST_RECORDS = 500
_AT_ONCE = 4
"""Bodies in memory at a time."""

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 4_102_444_800_000_000_000  # the year 2100, in nanoseconds
_FIELDS = {"name", "harness", "event", "host", "captured_at", "client_pid", "payload"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRecord:
    """A record as the other machine's spool held it; `captured_at_ns` counts nanoseconds since 1970."""

    name: str
    harness: str
    event: str
    client_pid: int | None
    host: str
    captured_at_ns: int
    payload: bytes

    @property
    def captured_at(self) -> datetime:
        """The same to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.captured_at_ns // 1_000)


Keep = Callable[[ReceivedRecord], None]
"""Puts a record into the spool, flushed. Raises InvalidInput for one that can never be kept."""


def capture_route(keep: Keep) -> Route:
    """The route: `{"records": [{name, harness, event, host, captured_at, client_pid, payload}, ...]}`.

    `host` is the machine that captured it, `captured_at` counts nanoseconds since 1970, `payload` is base64.
    Answers 200 when all records are kept, 422 with the refused ones (the others are kept then, too), and 5xx when
    the sender should send them again.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def capture(request: Request) -> JSONResponse:
        require_scope(request, CAPTURE)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedRequest(415, "not_json", "send Content-Type: application/json")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RefusedRequest(415, "encoded", "send the body without Content-Encoding")
        async with turns:
            body = await request.body()
            return await run_in_threadpool(_keep_all, body, keep)

    return Route("/capture", capture, methods=["POST"])


def _keep_all(body: bytes, keep: Keep) -> JSONResponse:
    records = _records(body)
    refused: list[dict[str, Any]] = []
    for place, record in enumerate(records):
        try:
            keep(_record(record))
        except InvalidInput as error:
            refused.append({"place": place, "error": error.stable_code, "message": error.message})
        except (SessionContinuityError, OSError) as error:
            told = error.message if isinstance(error, SessionContinuityError) else str(error.strerror)
            raise RefusedRequest(
                507, "not_kept", f"the spool takes nothing now: {told}", retry_after="5"
            ) from error
    answer = {"stored": len(records) - len(refused), "refused": refused}
    return JSONResponse(answer, 422 if refused else 200)


def _records(body: bytes) -> Sequence[object]:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedRequest(400, "not_json", f"the body is not JSON: {error}") from None
    records = cast("dict[str, Any]", document).get("records") if isinstance(document, dict) else None
    if not isinstance(records, list) or not 1 <= len(cast("list[object]", records)) <= MOST_RECORDS:
        raise RefusedRequest(
            400, "form", f"the body must be an object with records, a list of 1 to {MOST_RECORDS}"
        )
    return cast("list[object]", records)


def _record(given: object) -> ReceivedRecord:
    if not isinstance(given, dict) or given.keys() != _FIELDS:  # pyright: ignore[reportUnknownMemberType]
        raise InvalidInput(f"a record has exactly {', '.join(sorted(_FIELDS))}", code="record_form")
    record = cast("dict[str, Any]", given)
    for name in ("name", "harness", "event", "host", "payload"):
        if not isinstance(record[name], str):
            raise InvalidInput(f"{name} must be a string", code="record_form")
    if not _HOST.fullmatch(record["host"]):
        raise InvalidInput("host must be the plain name of a machine", code="host_format")
    captured_at, pid = record["captured_at"], record["client_pid"]
    if type(captured_at) is not int or not 0 <= captured_at < _LATEST:
        raise InvalidInput("captured_at must be nanoseconds since 1970", code="record_form")
    if pid is not None and (type(pid) is not int or not 0 < pid < 2**31):
        raise InvalidInput("client_pid must be a process id or null", code="record_form")
    try:
        payload = base64.b64decode(record["payload"], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("payload must be base64", code="record_form") from None
    return ReceivedRecord(
        name=record["name"],
        harness=record["harness"],
        event=record["event"],
        client_pid=pid,
        host=record["host"],
        captured_at_ns=captured_at,
        payload=payload,
    )
