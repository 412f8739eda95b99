"""A record sent through the whole chain: an agent's own hook command, spool, drain, row; then taken away again."""

from __future__ import annotations

import json
import secrets
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from session_continuity.capture.recorder.live import live_store
from session_continuity.capture.recorder.statusline import FOLDER as STATUS_FOLDER
from session_continuity.capture.spool.drain import drain
from session_continuity.capture.spool.spool import Spool, open_spool
from session_continuity.client import SessionContinuity
from session_continuity.deployment import Deployment
from session_continuity.domain.errors import NotFound, Refused
from session_continuity.domain.session_registry import Session

PROJECT = "continuity-probe"
"""The project of probe sessions: the name of the folder that the probe says it works in."""

_EVENTS = {
    "claude-code": "UserPromptSubmit",
    "codex": "UserPromptSubmit",
    "gemini-cli": "BeforeAgent",
    "opencode": "chat.message",
}
"""How each harness tells a prompt."""

_HOOK_SECONDS, _ROW_SECONDS = 30.0, 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """How far the probe came: `stage` is hook, drain, row or removal where it ended, None when it went all the
    way; `problem` says what happened there. `hook_ms`, `row_ms`: from the start until it was spooled, stored."""

    stage: str | None
    problem: str | None
    hook_ms: float | None
    row_ms: float | None


class _Stopped(Exception):
    def __init__(self, stage: str, problem: str) -> None:
        super().__init__(problem)
        self.stage = stage


class Probe:
    """Sends probes with one client; leaves nothing behind but the tombstone of each probe's session."""

    def __init__(self, client: SessionContinuity) -> None:
        self._client = client
        self._settings = client.settings

    def send(self, harness: str, commands: dict[str, str]) -> ProbeResult:
        """Run the harness's installed prompt hook as it would, and follow the record. Raises what opening the
        spool and asking the database raises."""
        identity = secrets.token_hex(8)
        session_id, text = f"{PROJECT}-{identity}", f"probe {identity} of `continuity doctor`"
        spool = open_spool(self._settings)
        waiting = set(spool.names())
        started = time.monotonic()
        hook_ms = row_ms = None
        try:
            with tempfile.TemporaryDirectory(prefix="continuity-") as folder:
                cwd = Path(folder) / PROJECT
                cwd.mkdir()
                _run_hook(commands[_EVENTS[harness]], cwd, _payload(harness, session_id, str(cwd), text))
                hook_ms = (time.monotonic() - started) * 1_000
                session = self._wait_for_row(spool, session_id, text)
                row_ms = (time.monotonic() - started) * 1_000
            self._remove(session)
        except _Stopped as stopped:
            return ProbeResult(stage=stopped.stage, problem=str(stopped), hook_ms=hook_ms, row_ms=row_ms)
        finally:
            _take_back(spool, set(spool.names()) - waiting, identity.encode())
        return ProbeResult(stage=None, problem=None, hook_ms=hook_ms, row_ms=row_ms)

    def _wait_for_row(self, spool: Spool, session_id: str, text: str) -> Session:
        """The probe's session once its prompt is stored, by whoever drains."""
        until = time.monotonic() + _ROW_SECONDS
        while time.monotonic() < until:
            report = drain(spool, live_store(self._client), seconds=_ROW_SECONDS)
            if report.stopped is not None:
                raise _Stopped("drain", f"the drain stopped: {report.stopped}")
            for session in self._client.find_sessions(harness_session_id=session_id, limit=1):
                events = self._client.read_events(session.instance_id, event_type="prompt_submitted")
                if any(text in str(event.event_data) for event in events):
                    return session
            for record in spool.quarantined():
                if session_id.encode() in spool.read(record.name).payload:
                    spool.drop(record.name)
                    raise _Stopped("drain", f"the drain refused the record: {record.code}, {record.reason}")
            time.sleep(0.05)
        raise _Stopped("row", f"no row came within {_ROW_SECONDS:g} seconds")

    def _remove(self, session: Session) -> None:
        (self._settings.home / STATUS_FOLDER / f"{session.harness_session_id}.json").unlink(missing_ok=True)
        try:
            Deployment(self._settings).delete_session(session.instance_id)
        except Refused as error:
            self._client.close_session(session.instance_id, reason="probe")
            raise _Stopped(
                "removal", f"the probe's session {session.instance_id} stays: {error.message}"
            ) from None


def _payload(harness: str, session_id: str, cwd: str, text: str) -> bytes:
    if harness == "opencode":
        output = {"message": {"role": "user"}, "parts": [{"type": "text", "text": text}]}
        told: dict[str, Any] = {"input": {"sessionID": session_id}, "output": output, "directory": cwd}
    else:
        told = {"session_id": session_id, "cwd": cwd, "hook_event_name": _EVENTS[harness], "prompt": text}
    return json.dumps(told).encode()


def _run_hook(command: str, cwd: Path, payload: bytes) -> None:
    """As the harness runs it: through a shell, in the session's folder."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=payload,
            capture_output=True,
            cwd=cwd,
            timeout=_HOOK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _Stopped("hook", f"the hook did not end within {_HOOK_SECONDS:g} seconds") from None
    if done.returncode != 0 or done.stdout or done.stderr:
        said = (done.stderr or done.stdout)[:200].decode("utf-8", "replace")
        raise _Stopped("hook", f"the hook ended with exit code {done.returncode} and printed {said!r}")


def _take_back(spool: Spool, names: set[str], identity: bytes) -> None:
    """A probe that did not get through is not to be stored later."""
    for name in names:
        try:
            if identity in spool.read(name).payload:
                spool.remove(name)
        except NotFound:
            continue
