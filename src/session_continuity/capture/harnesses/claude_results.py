"""What Claude Code tells of a finished call, as one fact: result, error, outcome, duration."""

from __future__ import annotations

import re
from datetime import datetime

from session_continuity.capture.facts.facts import JSON, Outcome, Record, ToolFinished
from session_continuity.capture.facts.transcripts import fields, parts_text, whole

_EXIT_CODE = re.compile(r"(?:Error: )?Exit code (\d{1,4})\n?")
_NOT_RUN = (
    "The user doesn't want to proceed with this tool use",
    "The user doesn't want to take this action right now",
    "[Request interrupted by user",
    "User rejected tool use",
    "Sibling tool call errored",
    "Interrupted by user",
)
_BULKY = frozenset({"originalFile", "originalFileContents"})
"""Whole files from before an edit; the edit itself is in the parameters and in `structuredPatch`."""


def finished_call(
    call_id: str, part: Record, structured: JSON, *, denied: bool, at: datetime | None, asked: datetime | None
) -> ToolFinished:
    """One fact of a tool_result part and the record's structured `toolUseResult`, whichever is there.

    1.0.x tells an error's exit code not at all or in the text, 2.1 as "Exit code 3" at the text's start.
    """
    told = parts_text(part.get("content"))
    message = _plain(told or (structured if isinstance(structured, str) else ""))
    error = (message or "the tool failed without a message") if part.get("is_error") is True else None
    cancelled = denied or fields(structured).get("interrupted") is True
    cancelled = cancelled or (error is not None and message.startswith(_NOT_RUN))
    outcome: Outcome = "cancelled" if cancelled else "success" if error is None else "failure"
    return ToolFinished(
        key=f"result:{call_id}",
        at=at,
        tool_call_id=call_id,
        result=_result(part.get("content"), structured, error),
        error=error,
        outcome=outcome,
        duration_ms=_duration(fields(structured), at, asked),
    )


def _result(content: JSON, structured: JSON, error: str | None) -> JSON:
    if isinstance(structured, dict):
        return {name: value for name, value in structured.items() if name not in _BULKY}
    if error is not None and (code := _EXIT_CODE.match(error)):
        return {"exit_code": int(code[1]), "output": error[code.end() :]}
    return structured if isinstance(structured, list) else content


def _plain(message: str) -> str:
    return message.removeprefix("<tool_use_error>").removesuffix("</tool_use_error>").strip()


def _duration(structured: Record, at: datetime | None, asked: datetime | None) -> int | None:
    for name in ("durationMs", "totalDurationMs", "duration_ms"):
        if (told := whole(structured.get(name))) is not None:
            return told
    if at is None or asked is None or at < asked:
        return None
    return round((at - asked).total_seconds() * 1000)
