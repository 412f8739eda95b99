"""A small fleet that has something of everything that the pages show, hostile texts among it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from session_continuity import NewCommand, NewEvent, SessionContinuity
from session_continuity.domain.alert_rules import DISK_FULL, RULES, USUAL_ALERTS
from session_continuity.domain.session_registry import Origin

Connection = psycopg.Connection[Any]

HOSTILE = (
    "<script>window.taken=1</script><img src=x onerror=window.taken=1>\x1b[31mred\x07\u202eevil\u2066"
    "\"'><svg/onload=window.taken=1>{{7*7}}${7*7}javascript:window.taken=1 " + "A" * 300
)


@dataclass(frozen=True)
class Fleet:
    """`main` has something of everything; `hostile` is hostile in every field; `old` was taken over by `new`."""

    main: str
    child: str
    hostile: str
    old: str
    new: str
    closed: str
    command: int


def make_fleet(client: SessionContinuity, connection: Connection) -> Fleet:
    main = client.register_session(
        "shop", instance_type="MS", current_epic="checkout", context_percent=63,
        origin=Origin(harness="claude-code", host="build-7", cwd="/srv/shop", git_branch="main"),
    ).instance_id  # fmt: skip
    child = client.register_session(
        "shop", current_epic="totals", context_percent=91,
        origin=Origin(parent_instance_id=main, relation="spawned", harness="codex"),
    ).instance_id  # fmt: skip
    fill(client, main, {"text": "Mend the totals of carts"})
    client.take_checkpoint(main, reason="first")
    fill(client, main, {"text": "And the invoices"})
    client.take_checkpoint(main, reason="second")
    client.append_event(main, "note_recorded", {"kind": "decision", "text": "Round once, at the end"})
    client.record_command(
        main, NewCommand(command_type="tool", tool_name="Bash", action="make all", tool_call_id="a")
    )
    hostile = client.register_session(
        "bank", current_epic=HOSTILE[:200],
        origin=Origin(harness=HOSTILE[:300], host=HOSTILE, cwd=HOSTILE, git_branch=HOSTILE, git_head=HOSTILE[:64]),
        metadata={HOSTILE[:200]: HOSTILE},
    ).instance_id  # fmt: skip
    fill(client, hostile, {"text": HOSTILE, HOSTILE[:100]: [HOSTILE, {"deep": HOSTILE}]}, HOSTILE)
    client.take_checkpoint(hostile, reason=HOSTILE[:400])
    old = client.register_session("shop").instance_id
    fill(client, old, {"text": "Start over"})
    new = client.resume_session(old).successor
    assert new is not None
    closed = client.register_session("search").instance_id
    client.close_session(closed)
    client.settle_machine_alert(DISK_FULL, "build-7", {"free_mb": 10, "free_percent": 1})
    client.evaluate_rule(RULES["slow_command"], USUAL_ALERTS)
    client.record_pass("archive", holder=HOSTILE[:200], seconds=1, done=3, report={"rows": 7}, error=HOSTILE)
    client.record_action("hold_session", hostile, person=HOSTILE[:100], via="cli", details={"reason": HOSTILE})
    while client.index_records(all_sessions=True).more:
        pass
    found = client.search_commands(instance_id=main, tool_name="Edit", limit=1)
    return Fleet(main, child, hostile, old, new.instance_id, closed, found[0].id)


def fill(client: SessionContinuity, session: str, prompt: dict[str, Any], text: str = "test_total") -> None:
    """Some events of every kind that the pages draw, and commands of every outcome."""
    short, failed = text[:200], {"command": f"pytest {text}", "summary": text, "failing": [text]}
    output = {"stdout": f"{text}\n" * 30}
    edit = {"file_path": text, "old_string": f"a\n{text}\nc\n", "new_string": f"a\n{text}!\nc\n"}
    client.append_events(session, [
        NewEvent(event_type="prompt_submitted", event_data=prompt),
        NewEvent(event_type="epic_started", event_data={"epic_id": short, "epic_name": text}),
        NewEvent(event_type="plan_updated", event_data={"items": [
            {"text": text, "status": "completed"}, {"text": "round once", "status": "in_progress"},
        ]}),
        NewEvent(event_type="context_window_updated", event_data={"percent": 20}),
        NewEvent(event_type="test_failed", event_data=failed),
        NewEvent(event_type="files_changed", event_data={"files": [{"path": text, "change": "modified"}]}),
        NewEvent(event_type="context_compacted", event_data={"trigger": short, "summary": text}),
        NewEvent(event_type="context_window_updated", event_data={"percent": 55}),
        NewEvent(event_type="test_passed", event_data={"command": f"pytest {text}", "summary": "45 passed"}),
        NewEvent(event_type="commit_created", event_data={"sha": "4f1c2a9b7d", "message": text, "branch": short}),
        NewEvent(event_type="task_spawned", event_data={"task_id": "1", "description": text, "agent_type": short}),
        NewEvent(event_type="pr_created", event_data={"number": 7, "url": text, "title": text}),
    ])  # fmt: skip
    client.record_commands(session, [
        NewCommand(command_type="tool", tool_name="Bash", action=f"pytest {text}", outcome="failure",
                   parameters={"command": text, short: [1, None, True, {"x": text}]}, execution_time_ms=6_100,
                   error_message=text, result=output, tags=[short], context_data={"x": text}),
        NewCommand(command_type="tool", tool_name="Edit", action=f"edit {text}", outcome="success",
                   parameters=edit,
                   execution_time_ms=30),
        NewCommand(command_type="tool", tool_name=short, action=text, outcome="unknown"),
    ])  # fmt: skip
