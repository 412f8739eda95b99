"""Every operation of the client has its place in the tools and on the command line, or a reason why not."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import session_continuity
from session_continuity import AsyncSessionContinuity, SessionContinuity
from session_continuity.mcp_server.app import TOOLS

SOURCE = Path(session_continuity.__file__).parent

LIFE = {"run", "close"}

SERVICES = dict.fromkeys(
    (
        "bring_back_from_future",
        "count_silent",
        "find_checkpoints_due",
        "find_processes",
        "find_stale_unsaved",
        "hold_leases",
        "mark_gone",
        "mark_silent",
        "record_pass",
        "release_leases",
        "take_due_checkpoint",
        "evaluate_rule",
        "settle_machine_alert",
        "claim_delivery",
        "settle_delivery",
        "drop_old_alerts",
        "sample_storage",
    ),
    "for the services; `continuity services run` and `sessions sweep` run these",
)
PAGES = dict.fromkeys(
    (
        "get_activity",
        "count_events_by_minute",
        "list_projects",
        "find_timeline_entry",
        "mark_stale",
        "get_overview",
    ),
    "for the dashboard, and for metrics",
) | {"get_fleet_metrics": "for metrics"}
NOT_A_TOOL: dict[str, str] = {
    **SERVICES,
    **PAGES,
    "index_records": "for the services",
    "get_storage": "for who runs the server: `continuity status`",
    "list_alerts": "for people: `continuity alerts list`",
    "acknowledge_alert": "a person says that he has seen it",
    "hold_session": "for people: `continuity sessions hold`",
    "release_session": "as hold_session",
    "record_action": "the audit is of what people do",
    "list_actions": "for people: `continuity audit list`",
    "find_silent": "list_sessions with silent_for; the sweep's own is `continuity sessions sweep --dry-run`",
    "list_services": "for who runs the server: `continuity services list`",
    "send_heartbeats": "for the drain, which beats for many sessions; an agent beats for itself: send_heartbeat",
    "find_process_sessions": "for whoever lives with that process: the life line of the server",
    "settle_imported": "belongs to the import of recordings",
    "record_context_percent": "for the drain; an agent tells it with its heartbeat: send_heartbeat",
    "record_commands": "for the drain; an agent records one command at a time: record_command",
    "get_command": "search_commands answers the same row",
    "append_event": "append_events with one event: one way to append is easier to choose",
    "replay_events": "get_work_state answers the same state, byte for byte, by a shorter way; who doubts it runs"
    " `continuity checkpoints verify`",
    "gather_standup": "the prompt standup",
    "forget_session": "erasing is for the person whose session it is: `continuity sessions forget`",
    "preview_forgetting": "as forget_session",
}
NOT_A_COMMAND: dict[str, str] = {
    **SERVICES,
    **PAGES,
    "acknowledge_alert": "with its entry in the audit: `continuity alerts ack`",
    "hold_session": "with its entry in the audit: `continuity sessions hold`",
    "release_session": "with its entry in the audit: `continuity sessions release`",
    "record_action": "part of what is audited",
    "send_heartbeats": "for the drain",
    "find_process_sessions": "for whoever lives with that process: the life line of `continuity mcp`",
    "settle_imported": "belongs to the import, whose command is `continuity import`",
    "record_context_percent": "for the drain",
    "record_commands": "for the drain",
    "append_events": "`continuity events append` appends one; many come by `continuity import`",
}


def operations() -> set[str]:
    return {
        name
        for name, member in vars(SessionContinuity).items()
        if not name.startswith("_") and callable(member) and name not in LIFE
    }


def called_in(*files: Path) -> set[str]:
    source = "\n".join(file.read_text("utf-8") for file in files)
    return set(re.findall(r"\bclient\.(\w+)\(", source))


def left_out(known: set[str]) -> set[str]:
    return operations() - known


TOOL_FILES = sorted((SOURCE / "mcp_server").glob("*_tools.py"))


def test_every_operation_is_a_tool_or_says_why_not() -> None:
    assert left_out(called_in(*TOOL_FILES)) == set(NOT_A_TOOL)


def test_every_operation_is_a_command_or_says_why_not() -> None:
    assert left_out(called_in(*(SOURCE / "cli").glob("*.py"))) == set(NOT_A_COMMAND)


def test_an_operation_without_a_face_would_be_seen() -> None:
    assert left_out(called_in(*TOOL_FILES) - {"get_timeline"}) - set(NOT_A_TOOL) == {"get_timeline"}


def test_a_tool_asks_the_client_once_and_has_its_word() -> None:
    """Where a name has several meanings or a dry run, the tool chooses one of several calls."""
    choosing = {"get_session", "query_events", "get_checkpoint", "resume_session", "fork_session"}
    renamed = {
        "list_sessions": "find_sessions",
        "settle_command": "record_outcome",
        "get_work_state": "recover_state",
    }
    for declared in TOOLS:
        calls = re.findall(r"client\.(\w+)\(", inspect.getsource(declared.function))
        assert hasattr(AsyncSessionContinuity, calls[0])
        if declared.name not in choosing:
            assert calls == [renamed.get(declared.name, declared.name)], declared.name


def test_no_tool_builds_its_own_statement() -> None:
    for file in (SOURCE / "mcp_server").glob("*.py"):
        assert "Statement" not in file.read_text("utf-8"), file.name
