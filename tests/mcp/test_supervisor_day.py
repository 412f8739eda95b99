"""A meta supervisor's day, through MCP alone, by every transport and era."""

from __future__ import annotations

import os
from typing import Any

import psycopg
import pytest

from .conftest import Connect, Road

pytestmark = pytest.mark.anyio


def grow_silent(connection: psycopg.Connection[Any], instance_id: str) -> None:
    """The session has died an hour ago: nothing sends its heartbeats any more."""
    connection.execute(
        "UPDATE supervisor_sessions SET last_heartbeat = now() - interval '1 hour' WHERE instance_id = %s",
        [instance_id],
    )


def process_of(connection: psycopg.Connection[Any], instance_id: str) -> int | None:
    """The process that a life line keeps the session alive with."""
    asked = "SELECT (metadata -> 'process' ->> 'pid')::integer FROM supervisor_sessions WHERE instance_id = %s"
    ((pid,),) = connection.execute(asked, [instance_id]).fetchall()
    return pid


async def test_a_meta_supervisor_finds_a_dead_session_resumes_it_and_follows_the_tree(
    connect: Connect, road: Road, connection: psycopg.Connection[Any]
) -> None:
    async with connect() as agent:
        supervisor = await agent.call("register_session", project="consilio", instance_type="MS")
        worker = await agent.call(
            "register_session",
            project="consilio",
            parent_instance_id=supervisor["instance_id"],
            current_epic="login",
            operation_id="the worker",
        )
        old = worker["instance_id"]
        assert worker["relation"] == "spawned"
        await agent.call(
            "append_events",
            instance_id=old,
            events=[
                {"event_type": "prompt_submitted", "event_data": {"text": "Add a login page"}},
                {
                    "event_type": "plan_updated",
                    "event_data": {"items": [{"text": "write the form", "status": "in_progress"}]},
                },
                {
                    "event_type": "test_failed",
                    "event_data": {"command": "pytest -q", "summary": "1 failed", "failing": ["test_login"]},
                },
            ],
            operation_id="first results",
        )
        await agent.call("record_note", instance_id=old, kind="rejected", text="Sessions in cookies: too large")
        started = await agent.call(
            "record_command",
            instance_id=old,
            command_type="tool",
            action="run",
            tool_name="Bash",
            parameters={"command": "make deploy"},
            tool_call_id="call-1",
        )
        grow_silent(connection, old)
        # A server of its own keeps the supervisor alive, and none but its own a worker.
        assert process_of(connection, supervisor["instance_id"]) == (
            os.getpid() if road.transport == "stdio" else None
        )
        assert process_of(connection, old) is None

        # In the morning.
        listed = await agent.call("list_sessions", project="consilio", status="active", silent_for="30m")
        assert [session["instance_id"] for session in listed["sessions"]] == [old]
        health = await agent.text("get_system_health", project="consilio")
        assert "silent=1" in health
        assert "list_sessions" in health

        preview = await agent.result("resume_session", instance_id=old, dry_run=True)
        assert "nothing was changed" in preview.content[0].text
        brief = preview.structured_content["brief"]
        for known in ("Add a login page", "write the form", "test_login", "Sessions in cookies", "make deploy"):
            assert known in brief
        resource = await agent.client.read_resource(f"continuity://sessions/{old}/brief")
        assert "Add a login page" in resource.contents[0].text
        assert (await agent.call("get_session", session=old)).get("superseded_by") is None

        resumed = await agent.call("resume_session", instance_id=old, operation_id="take over")
        new = resumed["successor"]
        assert (resumed["predecessor"], resumed["owner_epoch"], resumed["dry_run"]) == (old, 2, False)
        assert process_of(connection, new) is None
        again = await agent.call("resume_session", instance_id=old, operation_id="take over")
        assert again["successor"] == new
        successor = await agent.call("get_session", session="login")
        assert (successor["instance_id"], successor["parent_instance_id"]) == (new, old)

        # The dead one wakes up.
        for tool, arguments in (
            ("send_heartbeat", {}),
            ("append_events", {"events": [{"event_type": "test_passed"}]}),
            ("record_note", {"text": "late"}),
            ("take_checkpoint", {}),
            ("close_session", {}),
        ):
            refusal = await agent.refused(tool, instance_id=old, **arguments)
            assert refusal.startswith("fenced: "), tool
            assert new in refusal
            assert "epoch 2" in refusal
            assert f"get_session {new}" in refusal
        late = await agent.call(
            "record_command",
            instance_id=old,
            command_type="tool",
            action="run",
            outcome="success",
            tool_call_id="call-2",
        )
        assert late["late"] is True

        unknown = await agent.call("search_commands", instance_id=old, outcome="unknown")
        assert [command["id"] for command in unknown["commands"]] == [started["id"]]
        settled = await agent.call("settle_command", instance_id=old, outcome="failure", command_id=started["id"])
        assert settled["outcome"] == "failure"

        # The tree, and what was done.
        family = await agent.call("get_family", instance_id=new)
        assert [(one["depth"], one["instance_id"], one.get("relation")) for one in family["sessions"]] == [
            (0, supervisor["instance_id"], None),
            (1, old, "spawned"),
            (2, new, "resumed_from"),
        ]
        state = await agent.call("get_work_state", instance_id=new, fields=["notes", "plan"])
        assert state["work_state"]["notes"][0]["text"] == "Sessions in cookies: too large"
        timeline = await agent.text("get_timeline", instance_id=old)
        assert "prompt_submitted" in timeline
        assert "make deploy" in timeline
        standup = await agent.client.get_prompt("standup", {"project": "consilio", "since": "1d"})
        told = standup.messages[0].content.text
        assert f"## {new} (active" in told
        assert "test_failed" in told
