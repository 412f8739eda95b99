"""The command log: intent before, outcome after, each once; a search by every column."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.client.records import contents, new_session

from session_continuity import InvalidInput, NewCommand, NotFound, OperationConflict, SessionContinuity
from session_continuity.domain.identity import new_operation_id


def tool(action: str = "Bash", **options: Any) -> NewCommand:
    return NewCommand(command_type="tool", action=action, **options)


def test_an_intent_is_in_flight_until_its_outcome_is_known(client: SessionContinuity) -> None:
    session = new_session(client)
    intent = client.record_command(session, tool(tool_call_id="1", parameters={"command": "make"}))
    assert (intent.outcome, intent.success, intent.parameters) == (None, None, {"command": "make"})
    assert client.search_commands(outcome="in_flight") == [intent]
    ended = client.record_outcome(
        session, tool_call_id="1", outcome="failure", result={"code": 2}, error_message="no"
    )
    assert (ended.id, ended.outcome, ended.success, ended.result) == (intent.id, "failure", False, {"code": 2})
    assert ended.execution_time_ms is not None
    assert client.search_commands(outcome="in_flight") == []


@pytest.mark.parametrize("outcome", ["success", "failure", "unknown", "cancelled"])
def test_a_repeated_outcome_changes_nothing_and_another_one_conflicts(
    client: SessionContinuity, database: str, outcome: Any
) -> None:
    session = new_session(client)
    command = client.record_command(session, tool())
    first = client.record_outcome(session, command_id=command.id, outcome=outcome, execution_time_ms=5)
    if outcome == "unknown":
        assert client.record_outcome(session, command_id=command.id, outcome="success").outcome == "success"
        return
    before = contents(database)
    assert client.record_outcome(session, command_id=command.id, outcome=outcome) == first
    with pytest.raises(OperationConflict) as refused:
        client.record_outcome(
            session, command_id=command.id, outcome="success" if outcome != "success" else "failure"
        )
    assert refused.value.details["outcome"] == outcome
    assert contents(database) == before


def test_recording_a_command_again_completes_it_and_never_changes_its_outcome(client: SessionContinuity) -> None:
    session = new_session(client)
    intent = client.record_command(session, tool(tool_call_id="1"))
    assert client.record_command(session, tool(tool_call_id="1")) == intent
    ended = client.record_command(session, tool(tool_call_id="1", outcome="success", result="ok"))
    assert (ended.id, ended.outcome, ended.result) == (intent.id, "success", "ok")
    assert client.record_command(session, tool(tool_call_id="1")) == ended
    with pytest.raises(OperationConflict):
        client.record_command(session, tool(tool_call_id="1", outcome="failure"))
    assert client.search_commands(instance_id=session) == [ended]


def test_an_intent_and_its_outcome_in_one_batch_are_one_command(client: SessionContinuity) -> None:
    session = new_session(client)
    batch = [tool(tool_call_id="1"), tool(tool_call_id="2"), tool(tool_call_id="1", outcome="success")]
    recorded = client.record_commands(session, batch)
    assert [command.tool_call_id for command in recorded] == ["1", "2", "1"]
    stored = client.search_commands(instance_id=session)
    assert {(command.tool_call_id, command.outcome) for command in stored} == {("1", "success"), ("2", None)}


def test_another_command_under_the_same_id_is_a_conflict(client: SessionContinuity) -> None:
    session, other = new_session(client), new_session(client)
    operation = new_operation_id()
    first = client.record_command(session, tool("Bash", operation=operation))
    with pytest.raises(OperationConflict):
        client.record_command(session, tool("Edit", operation=operation))
    with pytest.raises(OperationConflict):
        client.record_command(other, tool("Bash", operation=operation, outcome="success"))
    assert client.search_commands() == [first]


def test_an_outcome_of_nothing_is_not_found(client: SessionContinuity) -> None:
    session, other = new_session(client), new_session(client)
    command = client.record_command(other, tool(tool_call_id="1"))
    for name in ({"command_id": command.id}, {"command_id": 10**9}, {"tool_call_id": "1"}):
        with pytest.raises(NotFound) as refused:
            client.record_outcome(session, outcome="success", **name)
        assert refused.value.stable_code == "command_not_found"
    with pytest.raises(NotFound):
        client.record_command("demo-PS-zzzzzz", tool())
    for names in ({}, {"command_id": 1, "tool_call_id": "1"}):
        with pytest.raises(InvalidInput):
            client.record_outcome(session, outcome="success", **names)


def test_a_batch_with_one_bad_command_records_none(client: SessionContinuity, database: str) -> None:
    session = new_session(client)
    before = contents(database)
    for bad in (
        tool("x" * 3_000), tool(parameters={"a": "\0"}), tool(outcome="lost"), tool(execution_time_ms=-1),
        tool(result={1, 2}), tool(tags=["\ud800"]), tool(started_at=datetime(2026, 1, 1)),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            client.record_commands(session, [tool(), bad])
    assert contents(database) == before


def test_a_search_finds_by_every_filter(client: SessionContinuity) -> None:
    shop, blog = new_session(client, "shop"), new_session(client, "blog")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    given = [
        (
            shop,
            tool(
                "Bash",
                tool_name="shell",
                parameters={"command": "make 100%"},
                outcome="success",
                execution_time_ms=5,
            ),
        ),
        (shop, tool("Edit", tool_name="editor", outcome="failure", error_message="No such FILE", tags=["slow"])),
        (shop, tool("Read", tool_name="editor", outcome="cancelled", execution_time_ms=9_000)),
        (blog, NewCommand(command_type="decision", action="approve", tags=["slow", "human"])),
        (blog, tool("Bash", tool_name="shell", outcome="failure", error_message="a_b", execution_time_ms=10)),
    ]
    recorded = [
        client.record_command(
            session,
            NewCommand(
                **{f: getattr(one, f) for f in one.__dataclass_fields__}
                | {"started_at": start + timedelta(hours=n)}
            ),
        )
        for n, (session, one) in enumerate(given)
    ]

    def found(**filters: Any) -> list[int]:
        return sorted(recorded.index(command) for command in client.search_commands(**filters))

    assert found() == [0, 1, 2, 3, 4]
    assert found(instance_id=shop) == [0, 1, 2]
    assert found(project="blog") == [3, 4]
    assert found(tool_name="editor") == [1, 2]
    assert found(action="Bash") == [0, 4]
    assert found(command_type="decision") == [3]
    assert found(outcome="failure") == [1, 4]
    assert found(outcome="failure", project="shop") == [1]
    assert found(outcome="failure", instance_id=blog) == [4]
    assert found(outcome="in_flight") == [3]
    assert found(text="no such file") == [1]
    assert found(text="100%") == [0]
    assert found(text="%") == [0]
    assert found(text="a_b") == [4]
    assert found(tag="slow") == [1, 3]
    assert found(slower_than_ms=9) == [2, 4]
    assert found(since=start + timedelta(hours=3)) == [3, 4]
    assert found(before=start + timedelta(hours=1)) == [0]
    newest = client.search_commands(limit=2)
    assert [recorded.index(command) for command in newest] == [4, 3]
    older = client.search_commands(before=newest[-1].created_at, limit=2)
    assert [recorded.index(command) for command in older] == [2, 1]
