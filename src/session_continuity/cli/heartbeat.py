"""continuity heartbeat: a session kept alive by the process that runs it."""

from __future__ import annotations

import socket
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import DURATION, NUMBER, Call, Group, pass_call
from session_continuity.cli.output import log_to_stderr, write_note

if TYPE_CHECKING:
    from session_continuity.domain.session_registry import Session
    from session_continuity.processes import Process

_CLOCKS_DIFFER = timedelta(minutes=10)
"""Between this machine and the database."""

_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(minutes=10)


@click.group(cls=Group)
def heartbeat() -> None:
    """Keep a session alive for as long as a process lives."""


@heartbeat.command(
    "run",
    examples=(
        "continuity heartbeat run --pid $$ --session consilio-PS-abc123 &",
        "continuity heartbeat run --pid 4711",
    ),
)
@click.option("--pid", type=NUMBER, required=True, help="The process that runs the session.")
@click.option("--session", "instance_id", metavar="INSTANCE_ID", help="Its instance id (default: by the pid).")
@click.option("--every", type=DURATION, default="15s", show_default=True, help="Time between two heartbeats.")
@pass_call
def run(call: Call, pid: int, instance_id: str | None, every: timedelta) -> None:
    """Send heartbeats while a process lives; when it ends, mark the session stale and save its state.

    A process that took the id of an ended one is not believed. Ended by a signal, it leaves the session as it is;
    when the session is closed or taken over, it ends."""
    from session_continuity.processes import is_running
    from session_continuity.services.heartbeat import keep_alive

    if not _SHORTEST <= every <= _LONGEST:
        raise click.UsageError("--every must be 1s to 10m: without a heartbeat for 30 minutes a session is stale.")
    session = _session_of(call, pid, instance_id)
    process = _process_of(session, pid)
    log_to_stderr()
    write_note(f"process {pid} keeps {session.instance_id} alive")
    kept = keep_alive(
        call.client, session.instance_id, lambda: is_running(process), every_seconds=every.total_seconds()
    )
    words = (
        "is stale"
        if kept.marked_stale
        else kept.reason or "was left as it is: it is closed, or heard of elsewhere"
    )
    call.answer(
        {"instance_id": session.instance_id, "pid": pid, **asdict(kept)},
        lambda: write_note(f"{session.instance_id}: {words}"),
    )


def _session_of(call: Call, pid: int, instance_id: str | None) -> Session:
    from session_continuity.domain.errors import Ambiguous, NotFound

    if instance_id is not None:
        return call.client.get_session(instance_id)
    host = socket.gethostname()
    found = [
        session
        for session in call.client.find_sessions(status="active", limit=10_000)
        if (session.host, session.pid) == (host, pid)
    ]
    if not found:
        raise NotFound(f"no active session of this machine has the pid {pid}; name one with --session")
    if len(found) > 1:
        matches = [session.instance_id for session in found]
        raise Ambiguous(f"the pid {pid} has {', '.join(matches)}; name one with --session", matches=matches)
    return found[0]


def _process_of(session: Session, pid: int) -> Process:
    """The process of that id, if it is the one that the session knows."""
    from session_continuity.domain.errors import NotFound, Refused
    from session_continuity.processes import process_from_json, seen_process

    known = process_from_json(session.metadata.get("process"))
    since = datetime.now(UTC)
    if known is None and session.pid == pid and session.host == socket.gethostname():
        since = session.created_at + _CLOCKS_DIFFER
    process = seen_process(pid, since=since)
    if process is None and seen_process(pid, since=datetime.now(UTC)) is None:
        raise NotFound(f"no process {pid} runs")
    if process is None or (known is not None and known.pid == pid and known != process):
        raise Refused(
            f"process {pid} began after the session {session.instance_id}: the id was used again",
            code="pid_reused",
        )
    return process
