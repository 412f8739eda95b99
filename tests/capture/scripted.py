"""Scripted sessions: what a harness's hooks would put into the spool, and what it writes into its recording."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from session_continuity import SessionContinuity
from session_continuity.capture.recorder.live import LiveCapture
from session_continuity.capture.spool.spool import SpoolRecord

START = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)


def capture(client: SessionContinuity) -> LiveCapture:
    return LiveCapture(client, redact=lambda value: value)


@dataclass
class Script:
    """One harness session: each step adds records of hooks, lines of the recording, or both, a second later."""

    harness: str = "claude-code"
    session_id: str = "5e55104e-0000-4000-8000-000000000001"
    cwd: str = "/srv/shop"
    transcript: Path | None = None
    pid: int | None = None
    host: str | None = None
    start: datetime = START
    hooks: list[SpoolRecord] = field(default_factory=list)
    lines: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    _steps: int = 0

    @property
    def now(self) -> datetime:
        return self.start + timedelta(seconds=self._steps)

    def hook(self, event: str, **payload: Any) -> SpoolRecord:
        """One record; `at` shifts nothing, each has its second."""
        self._steps += 1
        given = {"session_id": self.session_id, "cwd": self.cwd, "hook_event_name": event}
        if self.transcript is not None:
            given["transcript_path"] = str(self.transcript)
        record = SpoolRecord(
            name=f"{self.harness}@{event}@{self.pid or 1}@{self.session_id[:8]}{len(self.hooks):04d}",
            harness=self.harness,
            event=event,
            client_pid=self.pid,
            host=self.host,
            captured_at=self.now,
            payload=json.dumps(given | payload).encode(),
        )
        self.hooks.append(record)
        return record

    def line(self, kind: str, after: float = 0.2, **record: Any) -> None:
        """One line of Claude Code's recording, written `after` seconds since the last hook."""
        at = self.now + timedelta(seconds=after)
        common = {
            "type": kind,
            "uuid": f"10000000-0000-4000-8000-{len(self.lines):012d}",
            "sessionId": self.session_id,
            "timestamp": at.isoformat(),
            "cwd": self.cwd,
            "gitBranch": "rate-limit",
            "version": "2.1.330",
        }
        self.lines.append((at, common | record))

    # Claude Code, both sides

    def begin(self, source: str = "startup", **more: Any) -> SpoolRecord:
        return self.hook("SessionStart", source=source, **more)

    def prompt(self, text: str) -> None:
        self.hook("UserPromptSubmit", prompt=text, permission_mode="default")
        self.line("user", message={"role": "user", "content": text})

    def says(self, text: str, used: int = 20_000) -> None:
        self.line(
            "assistant",
            message={
                "id": f"msg_{len(self.lines)}",
                "model": "claude-test",
                "content": [{"type": "text", "text": text}],
                "usage": {"input_tokens": used},
            },
        )

    def calls(self, call_id: str, tool: str, **parameters: Any) -> None:
        content = [{"type": "tool_use", "id": call_id, "name": tool, "input": parameters}]
        self.line("assistant", message={"id": f"m{call_id}", "model": "claude-test", "content": content})
        self.hook("PreToolUse", tool_name=tool, tool_input=parameters, tool_use_id=call_id)

    def ends(self, call_id: str, tool: str, response: Any, *, hook: bool = True, **parameters: Any) -> None:
        told = {"tool_name": tool, "tool_input": parameters, "tool_use_id": call_id, "duration_ms": 12}
        if hook:
            self.hook("PostToolUse", tool_response=response, **told)
        self._result(call_id, str(response), is_error=False, structured=response)

    def fails(self, call_id: str, tool: str, error: str, **parameters: Any) -> None:
        told = {"tool_name": tool, "tool_input": parameters, "tool_use_id": call_id, "duration_ms": 7}
        self.hook("PostToolUseFailure", error=error, is_interrupt=False, **told)
        self._result(call_id, error, is_error=True, structured=f"Error: {error}")

    def _result(self, call_id: str, text: str, *, is_error: bool, structured: Any) -> None:
        part = {"type": "tool_result", "tool_use_id": call_id, "content": text, "is_error": is_error}
        self.line("user", message={"role": "user", "content": [part]}, toolUseResult=structured)

    def write(self, until: datetime | None = None) -> None:
        """The recording as it stands at that time; nothing is written twice."""
        assert self.transcript is not None
        lines = [record for at, record in self.lines if until is None or at <= until]
        self.transcript.write_text("".join(f"{json.dumps(record)}\n" for record in lines), "utf-8")


def shell(stdout: str) -> dict[str, Any]:
    return {"stdout": stdout, "stderr": "", "interrupted": False, "isImage": False}


def working_day(script: Script) -> Script:
    """A session with success, failure, tests, a plan made in steps, a denial, a compaction and an end."""
    script.begin()
    script.prompt("Add a rate limit to the login")
    script.says("I will look at the tests first.")
    script.calls("toolu_1", "Bash", command="pytest -q")
    script.ends("toolu_1", "Bash", shell("3 passed in 0.10s"), command="pytest -q")
    script.calls("toolu_2", "TaskCreate", subject="write the limiter")
    task = {"id": "1", "subject": "write the limiter"}
    script.ends("toolu_2", "TaskCreate", {"task": task}, subject="write the limiter")
    script.calls("toolu_3", "Bash", command="false")
    script.fails("toolu_3", "Bash", "Exit code 1", command="false")
    script.calls("toolu_4", "TaskUpdate", taskId="1", status="in_progress")
    script.ends("toolu_4", "TaskUpdate", {"success": True}, taskId="1", status="in_progress")
    queued = {"type": "queued_command", "prompt": "mind the proxies", "commandMode": "prompt"}
    script.line("attachment", attachment=queued)
    script.says("The limiter is begun.", used=100_000)
    script.calls("toolu_5", "Bash", command="rm -rf /")
    denied = {"tool_name": "Bash", "tool_input": {"command": "rm -rf /"}, "tool_use_id": "toolu_5"}
    script.hook("PermissionDenied", reason="never", **denied)
    script.hook("Notification", message="Claude needs your permission", notification_type="permission_prompt")
    script.hook("Stop", stop_hook_active=False, last_assistant_message="The limiter is begun.")
    script.prompt("go on")
    script.prompt("go on")
    script.hook("PreCompact", trigger="auto", custom_instructions="")
    tokens = {"trigger": "auto", "preTokens": 160_000, "postTokens": 9_000}
    script.line("system", subtype="compact_boundary", compactMetadata=tokens)
    script.begin("compact", model="claude-test")
    script.hook("PostCompact", trigger="auto", compact_summary="The limiter is begun; proxies matter.")
    summary = "This session is being continued from a previous conversation"
    script.line("user", message={"role": "user", "content": summary}, isCompactSummary=True)
    script.hook("SomethingNew", secret_of_the_future=1)
    script.hook("SessionEnd", reason="prompt_input_exit")
    return script


def batches(records: list[SpoolRecord], size: int) -> list[list[SpoolRecord]]:
    return [records[start : start + size] for start in range(0, len(records), size)]


VOLATILE = {
    "supervisor_sessions": ("thread_id", "last_heartbeat", "heartbeat_bucket", "closed_at", "created_at"),
    "command_log": ("id",),
    "event_store": (),
    "checkpoints": (),
}


LATER = re.compile(rf'"(?!{START.date()})20\d\d-\d\d-\d\d[T ][\d:.+]+"')
"""The times of the database; those of the script are all of one day."""

ORDER = ("sequence_num", "last_sequence_num", "work_state", "state_hash")


def rows(database: str, *, ordered: bool = True) -> dict[str, list[str]]:
    """All rows without what differs by its nature (times of the database, serial numbers, random ids); not
    `ordered`: without sequence numbers as well."""
    found: dict[str, list[str]] = {}
    with psycopg.connect(database) as connection:
        for table, volatile in VOLATILE.items():
            left_out = [*volatile, *(() if ordered else ORDER)]
            columns = "to_jsonb(t)" + "".join(f" - '{name}'" for name in left_out)
            query = f"SELECT ({columns})::text FROM {table} t"
            found[table] = sorted(LATER.sub('"later"', row[0]) for row in connection.execute(query).fetchall())
    return found
