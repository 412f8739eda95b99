"""What Gemini CLI tells of a finished call, as one fact: the text for the model holds output and exit code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from session_continuity.capture.facts.actions import SHELL_TOOLS
from session_continuity.capture.facts.facts import Outcome, Record, ToolCalled, ToolFinished

_WRAPPING = ("<untrusted_context>\n", "\n</untrusted_context>")
_TRAILER = re.compile(r"(Error|Exit Code|Signal|Background PIDs|Process Group PGID): (.*)")
_OUTPUT = re.compile(r"^(?:Output|Stdout): ", re.MULTILINE)
_CANCELLED = "Command was cancelled by user before it could complete."
_TIMED_OUT = "Command was automatically cancelled because it exceeded the timeout"
_RUNNING = ("Command moved to background (PID", "Command is running in background. PID")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shell:
    output: str
    exit_code: int | None = None
    ended: bool = False
    problem: str = ""


def finished_call(
    key: str,
    call_id: str,
    tool: str,
    told: str,
    *,
    error: str | None,
    cancelled: bool,
    at: datetime | None,
    call: ToolCalled | None = None,
) -> ToolFinished:
    """One fact of the text that the model was given; `error` is told when the tool itself failed.

    A shell command that exits with a code is no error to Gemini CLI: the code is a line at the text's end.
    """
    told = told.removeprefix(_WRAPPING[0]).removesuffix(_WRAPPING[1])
    result: Record = {"output": told}
    outcome: Outcome = "failure" if error else "success"
    if tool in SHELL_TOOLS and told.startswith(_RUNNING):
        result["status"] = "running"
    elif tool in SHELL_TOOLS and told.startswith((_CANCELLED, _TIMED_OUT)):
        cancelled = cancelled or told.startswith(_CANCELLED)
        outcome, error = "failure", told
    elif tool in SHELL_TOOLS and not error:
        shell = _read_shell(told)
        result, outcome, error = _shell_result(shell)
    if cancelled:
        outcome, error = "cancelled", error or told or "cancelled"
    return ToolFinished(
        key=key,
        at=at,
        tool_call_id=call_id,
        result=result,
        error=error,
        outcome=outcome,
        duration_ms=None,
        call=call,
    )


def _shell_result(shell: _Shell) -> tuple[Record, Outcome, str | None]:
    result: Record = {"output": shell.output}
    if shell.exit_code is not None:
        result["exit_code"] = shell.exit_code
    if shell.exit_code or shell.problem:
        prefix = f"Exit code {shell.exit_code}\n" if shell.exit_code else f"{shell.problem}\n"
        return result, "failure", f"{prefix}{shell.output}".strip()
    return result, "success" if shell.ended else "unknown", None


def _read_shell(told: str) -> _Shell:
    """Take the lines off the end that Gemini CLI adds; earlier lines may quote anything.

    0.61 leaves out what there is not (exit code 0 too); older versions write "(none)".
    """
    lines, trailer = told.split("\n"), dict[str, str]()
    while lines and (match := _TRAILER.fullmatch(lines[-1])) and match[1] not in trailer:
        trailer[match[1]] = match[2]
        lines.pop()
    body = "\n".join(lines)
    if start := _OUTPUT.search(body):
        body = body[start.end() :]
    code = trailer.get("Exit Code", "0" if trailer and "Signal" not in trailer else "")
    problems = (
        f"{name}: {trailer[name]}" for name in ("Error", "Signal") if trailer.get(name, "(none)") != "(none)"
    )
    return _Shell(
        output="" if body == "(empty)" else body,
        exit_code=int(code) if code.isdecimal() and len(code) < 6 else None,
        ended=bool(trailer),
        problem=", ".join(problems),
    )
