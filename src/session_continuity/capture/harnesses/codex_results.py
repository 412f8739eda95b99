"""What Codex tells of a finished call, as one fact: output texts of several ages, and execution events."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from session_continuity.capture.facts.facts import JSON, Outcome, Record, ToolFinished
from session_continuity.capture.facts.transcripts import fields, parse_object, parts_text, text, whole

_EXIT_CODE = re.compile(r"^(?:Process exited with code|Exit code:) (-?\d{1,10})\s*$", re.MULTILINE)
_WALL_TIME = re.compile(r"^Wall time: (\d{1,9}(?:\.\d{1,9})?) seconds", re.MULTILINE)
_PROCESS = re.compile(r"^Process running with session ID (\S{1,64})", re.MULTILINE)
_HEADER_CHARACTERS = 2000
_NOT_RUN = ("aborted by user", "command was aborted", "rejected by user", "exec command rejected by user")
_FAILED = (
    "apply_patch verification failed",
    "patch rejected",
    "failed to parse function arguments",
    "exec_command failed",
    "write_stdin failed",
    "execution error",
    "unsupported call",
    "unsupported custom tool call",
    "tool call error",
    "err:",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an event says of a call besides its output; every field may be missing."""

    exit_code: int | None = None
    output: str | None = None
    duration_ms: int | None = None
    failed: bool = False
    extra: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOutput:
    """A call's output text taken apart; `process_id` names a command that is still running."""

    text: str
    exit_code: int | None = None
    duration_ms: int | None = None
    process_id: str | None = None
    fine: bool | None = None


def told_by_event(item: Record) -> Told:
    """Read item_completed items (0.169) and the *_end events of older recordings."""
    code = item.get("exit_code")
    result = fields(item.get("result"))
    failed = item.get("status") in ("failed", "declined") or item.get("success") is False
    failed = failed or result.get("isError") is True or "Err" in result or bool(text(item.get("error")))
    return Told(
        exit_code=code if isinstance(code, int) and not isinstance(code, bool) else None,
        output=text(item.get("aggregated_output")),
        duration_ms=_duration(item.get("duration")),
        failed=failed,
        extra=item.get("changes") or None,
    )


def read_output(output: JSON) -> ReadOutput:
    """Take an output apart: exec_command's header lines, the older JSON envelope, a list of parts."""
    if isinstance(output, dict):
        fine = output.get("success")
        return ReadOutput(text=parts_text(output.get("content")), fine=fine if isinstance(fine, bool) else None)
    told = parts_text(output)
    if told.startswith('{"') and (envelope := _envelope(told)):
        return envelope
    # Only the lines before "Output:" are Codex's own; what follows may quote anything.
    header, mark, body = told[:_HEADER_CHARACTERS].partition("Output:")
    if not mark or not header.lstrip().startswith(("Chunk ID", "Wall time", "Exit code", "Command:")):
        return ReadOutput(text=told)
    code, wall, process = _EXIT_CODE.search(header), _WALL_TIME.search(header), _PROCESS.search(header)
    body += told[_HEADER_CHARACTERS:]
    return ReadOutput(
        text=body.removeprefix("\n"),
        exit_code=int(code[1]) if code else None,
        duration_ms=round(float(wall[1]) * 1000) if wall and float(wall[1]) > 0 else None,
        process_id=process[1] if process else None,
    )


def finished_call(
    call_id: str,
    read: ReadOutput,
    told: Told,
    *,
    command: str | None,
    at: datetime | None,
    asked: datetime | None,
) -> ToolFinished:
    """One fact of a call's output and what events said of it; `command` is that of a polled process."""
    code = told.exit_code if told.exit_code is not None else read.exit_code
    start = read.text[:200].lstrip().lower()
    failed = code not in (None, 0) or told.failed or read.fine is False or start.startswith(_FAILED)
    cancelled = code is None and start.startswith(_NOT_RUN)
    outcome: Outcome = "cancelled" if cancelled else "failure" if failed else "success"
    whole_output = read.text if read.text else told.output or ""
    result: Record = {"output": whole_output}
    if code is not None:
        result["exit_code"] = code
    if read.process_id:
        result["process_id"] = read.process_id
    if command:
        result["command"] = command
    if told.extra is not None:
        result["changes"] = told.extra
    prefix = f"Exit code {code}\n" if code not in (None, 0) else ""
    return ToolFinished(
        key=f"result:{call_id}",
        at=at,
        tool_call_id=call_id,
        result=result,
        error=None if outcome == "success" else f"{prefix}{whole_output}".strip() or "no message",
        outcome=outcome,
        duration_ms=_first(told.duration_ms, read.duration_ms, _between(asked, at)),
    )


def _envelope(told: str) -> ReadOutput | None:
    """{"output": ..., "metadata": {"exit_code": ..., "duration_seconds": ...}} (0.104 and before)."""
    value = parse_object(told)
    metadata = fields(value.get("metadata"))
    output = value.get("output")
    if not isinstance(output, str) or not metadata:
        return None
    code, seconds = metadata.get("exit_code"), metadata.get("duration_seconds")
    known = isinstance(code, int) and not isinstance(code, bool)
    duration = round(seconds * 1000) if isinstance(seconds, int | float) and 0 < seconds < 1e9 else None
    return ReadOutput(text=output, exit_code=int(code) if known else None, duration_ms=duration)  # type: ignore[arg-type]


def _duration(value: JSON) -> int | None:
    seconds, nanos = whole(fields(value).get("secs")), whole(fields(value).get("nanos"))
    return seconds * 1000 + (nanos or 0) // 1_000_000 if seconds is not None else None


def _between(asked: datetime | None, at: datetime | None) -> int | None:
    if asked is None or at is None or at < asked:
        return None
    return round((at - asked).total_seconds() * 1000)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
