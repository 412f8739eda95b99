"""Hooks' records become rows: once, in order, however they are grouped, repeated and mixed with the recording."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.capture.scripted import START, Script, batches, capture, rows, shell, working_day
from tests.client.records import together
from tests.conftest import RunningServer

from session_continuity import SessionContinuity
from session_continuity.capture.recorder import live_session
from session_continuity.capture.recorder.live import LiveCapture
from session_continuity.capture.recorder.recorder import Recorder
from session_continuity.capture.spool.spool import SpoolRecord
from session_continuity.domain.work_state import canonical

NewDatabase = Callable[[], str]

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "hooks"


@pytest.fixture
def new_database(server: RunningServer) -> Iterator[NewDatabase]:
    made: list[str] = []

    def create() -> str:
        made.append(server.create_database())
        return server.conninfo(made[-1])

    yield create
    for name in made:
        server.drop_database(name)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    script = working_day(Script(transcript=tmp_path / "recording.jsonl"))
    script.write()
    return script


def only_session(client: SessionContinuity) -> str:
    (session,) = client.find_sessions()
    return session.instance_id


def test_a_working_day_is_recorded(client: SessionContinuity, script: Script) -> None:
    assert capture(client).store(script.hooks) == [None] * len(script.hooks)
    session = client.get_session(only_session(client))
    assert (session.project, session.harness, session.harness_session_id, session.status) == (
        "shop", "claude-code", script.session_id, "closed",
    )  # fmt: skip
    commands = {c.tool_call_id: c for c in client.search_commands(instance_id=session.instance_id)}
    assert {name: command.outcome for name, command in commands.items()} == {
        "toolu_1": "success",
        "toolu_2": "success",
        "toolu_3": "failure",
        "toolu_4": "success",
        "toolu_5": "cancelled",
    }
    assert (commands["toolu_5"].tags, commands["toolu_5"].error_message) == (["denied"], "never")
    assert commands["toolu_1"].execution_time_ms == 12
    state = client.recover_state(session.instance_id).work_state
    assert [prompt["text"] for prompt in state["prompts"]] == [
        "Add a rate limit to the login",
        "mind the proxies",
        "go on",
        "go on",
    ]
    assert state["plan"] is not None
    assert state["plan"]["items"] == [{"text": "write the limiter", "status": "in_progress"}]
    assert [(test["command"], test["outcome"]) for test in state["tests"]] == [("pytest -q", "passed")]
    assert state["last_answer"] is not None
    assert state["last_answer"]["text"] == "The limiter is begun."
    assert state["context"] is not None
    assert state["context"]["percent"] == 50
    assert state["compactions"] is not None
    assert state["compactions"]["summary"] == "The limiter is begun; proxies matter."
    assert state["notes"] == []  # notes of the harness crowd no decision out
    kinds = [e.event_data["kind"] for e in client.read_events(session.instance_id, event_type="note_recorded")]
    assert kinds == ["answer", "answer", "notification", "compaction", "unmapped"]
    reasons = [c.metadata["reason"] for c in client.list_checkpoints(session.instance_id)]
    assert sorted(reasons) == ["before compaction", "session ended"]


@pytest.mark.parametrize("seed", range(3))
def test_records_give_the_same_rows_however_often_and_in_whatever_batches_they_come(
    new_database: NewDatabase, script: Script, seed: int
) -> None:
    found = []
    for size in (500, 1, random.Random(seed).randint(2, 9)):
        database = new_database()
        with SessionContinuity(dsn=database) as client:
            for _ in range(2):
                live = capture(client)
                for batch in batches(script.hooks, size):
                    assert live.store(batch) == [None] * len(batch)
                    live = capture(client) if size > 1 else live  # taken up by another drainer
            again = random.Random(seed).randint(1, len(script.hooks) - 1)
            capture(client).store(script.hooks[again:])  # who died before it could unlink them
            session = only_session(client)
            events = client.read_events(session)
            assert [event.sequence_num for event in events] == list(range(1, len(events) + 1))
            recovered, replayed = client.recover_state(session), client.replay_events(session)
            assert canonical(recovered.work_state) == canonical(replayed.work_state)
        found.append(rows(database))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("seed", range(8))
def test_hooks_and_recording_give_the_same_rows_in_any_interleaving(
    new_database: NewDatabase, script: Script, seed: int
) -> None:
    chance = random.Random(seed)
    found = []
    for interleaved in (False, True):
        database = new_database()
        with SessionContinuity(dsn=database) as client:
            live = capture(client)
            script.write(None if not interleaved else START)
            waiting = list(script.hooks)
            while waiting:
                count = chance.randint(1, 4) if interleaved else len(waiting)
                batch, waiting = waiting[:count], waiting[count:]
                if interleaved:  # the recording is behind the hooks, or ahead of them
                    script.write(batch[-1].captured_at + timedelta(seconds=chance.uniform(-6, 6)))
                    live = chance.choice((live, capture(client)))
                assert live.store(batch) == [None] * len(batch)
            script.write()
            live.watch()
            live.watch()
        found.append(rows(database, ordered=False))
    assert found[0] == found[1]


def test_the_recording_completes_what_no_hook_told(client: SessionContinuity, tmp_path: Path) -> None:
    script = Script(transcript=tmp_path / "recording.jsonl")
    script.begin()
    script.prompt("try it")
    script.calls("toolu_1", "Bash", command="pytest -q")
    script.ends("toolu_1", "Bash", shell("2 passed in 0.01s"), hook=False, command="pytest -q")
    script.line(
        "assistant", message={"content": [{"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {}}]}
    )
    script.ends("toolu_2", "Read", "text", hook=False)
    script.write()
    live = capture(client)
    live.store(script.hooks)
    session = only_session(client)
    (open_one,) = client.search_commands(instance_id=session)
    assert open_one.outcome is None  # its hook may still come
    stop = script.hook("Stop", stop_hook_active=False)
    live.store([stop])
    commands = {c.tool_call_id: c for c in client.search_commands(instance_id=session)}
    assert {name: (c.outcome, c.tags) for name, c in commands.items()} == {
        "toolu_1": ("success", []),
        "toolu_2": ("success", ["transcript"]),
    }
    assert len(client.read_events(session, event_type="test_passed")) == 1


def test_an_unknown_outcome_is_completed_by_the_recording_at_once_and_only_once(
    client: SessionContinuity, tmp_path: Path
) -> None:
    rollout = tmp_path / "rollout.jsonl"
    script = Script(harness="codex", transcript=rollout, session_id="01a20a67-0000-7000-8000-000000000001")
    script.hook("SessionStart", source="startup", model="m")
    tool = {"tool_name": "Bash", "tool_input": {"command": "pytest -q"}, "tool_use_id": "call_1"}
    script.hook("PreToolUse", **tool)
    script.hook("PostToolUse", tool_response="1 failed in 0.2s\n", **tool)
    live = capture(client)
    live.store(script.hooks)
    session = only_session(client)
    assert [c.outcome for c in client.search_commands(instance_id=session)] == ["unknown"]
    assert client.read_events(session, event_type="test_failed") == []
    rollout.write_text("".join(codex_lines(script)), "utf-8")
    told_again = [*script.hooks, script.hook("UserPromptSubmit", prompt="go on")]
    for _ in range(2):
        capture(client).store(told_again)
    (command,) = client.search_commands(instance_id=session)
    assert (command.outcome, command.result["exit_code"], command.tool_name) == ("failure", 1, "Bash")
    assert len(client.read_events(session, event_type="test_failed")) == 1
    percents = [e.event_data["percent"] for e in client.read_events(session, event_type="context_window_updated")]
    assert percents == [25]


def codex_lines(script: Script) -> Iterator[str]:
    import json

    def line(seconds: float, kind: str, payload: dict[str, object]) -> str:
        at = (START + timedelta(seconds=seconds)).isoformat()
        return json.dumps({"timestamp": at, "type": kind, "payload": payload}) + "\n"

    call = {"call_id": "call_1", "name": "exec_command", "arguments": '{"cmd": "pytest -q"}'}
    output = "Wall time: 0.2 seconds\nProcess exited with code 1\nOutput:\n1 failed in 0.2s"
    yield line(0.5, "session_meta", {"id": script.session_id, "cwd": script.cwd, "cli_version": "0.169.0"})
    yield line(1.5, "response_item", {"type": "function_call", **call})
    yield line(2.5, "response_item", {"type": "function_call_output", "call_id": "call_1", "output": output})
    tokens = {"last_token_usage": {"total_tokens": 25}, "model_context_window": 100}
    yield line(2.7, "event_msg", {"type": "token_count", "info": tokens})


@pytest.mark.parametrize("size", [1, 2, 500])
@pytest.mark.parametrize("told", ["before the end", "after the end"])
def test_the_registry_holds_the_context_percentage_of_a_closed_session(
    client: SessionContinuity, tmp_path: Path, told: str, size: int
) -> None:
    """Also when the end and the measurement meet in one batch, and when the recording tells it after the end."""
    script = Script(transcript=tmp_path / "recording.jsonl")
    script.begin()
    script.prompt("go on")
    if told == "before the end":
        script.says("done", used=100_000)
    end = script.hook("SessionEnd", reason="prompt_input_exit")
    if told == "after the end":
        script.says("done", used=100_000)
    script.write()
    live = capture(client)
    for batch in batches(script.hooks, size):
        assert live.store(batch) == [None] * len(batch)
    live.watch()
    session = client.get_session(only_session(client))
    assert (session.status, session.context_percent) == ("closed", 50)
    assert session.closed_at is not None
    live.store([end])  # who died before it could unlink it
    assert client.get_session(session.instance_id) == session


def test_equal_calls_without_ids_are_paired_in_their_order_also_when_told_again(
    client: SessionContinuity,
) -> None:
    script = Script(harness="gemini-cli", session_id="a55e4279-0000-4000-8000-000000000001")
    script.hook("SessionStart", source="startup")
    tool = {"tool_name": "read_file", "tool_input": {"file_path": "/srv/shop/a.py"}}
    for _ in range(2):
        script.hook("BeforeTool", **tool)
    for output in ("first", "second"):
        script.hook("AfterTool", tool_response={"llmContent": output, "returnDisplay": output}, **tool)
    for size in (1, 500, 2, 1):
        for batch in batches(script.hooks, size):
            capture(client).store(batch)
    capture(client).store(script.hooks[-2:])
    commands = list(reversed(client.search_commands(instance_id=only_session(client))))
    assert [command.outcome for command in commands] == ["success", "success"]
    assert ["first" in str(commands[0].result), "second" in str(commands[1].result)] == [True, True]


def test_a_checkpoint_comes_at_least_every_hundred_events_in_any_batches(
    new_database: NewDatabase,
) -> None:
    script = Script()
    script.begin()
    for number in range(230):
        script.prompt(f"prompt {number}")
    found = []
    for size in (1, 500):
        database = new_database()
        with SessionContinuity(dsn=database) as client:
            for _ in range(2):
                for batch in batches(script.hooks, size):
                    capture(client).store(batch)
            assert client.recover_state(only_session(client)).events_folded <= 100
            assert len(client.list_checkpoints(only_session(client))) == 2
        found.append(rows(database))
    assert found[0] == found[1]


def test_what_is_no_record_of_a_session_is_rejected_with_its_reason(client: SessionContinuity) -> None:
    script = Script()
    good = script.begin()
    broken = [
        Script(harness="netscape").begin(),
        type(good)(**{name: getattr(good, name) for name in good.__slots__} | {"name": "x", "payload": b"{torn"}),
        type(good)(**{name: getattr(good, name) for name in good.__slots__} | {"name": "y", "payload": b"[1]"}),
        Script(session_id="").hook("UserPromptSubmit", prompt="hello"),
    ]
    verdicts = capture(client).store([*broken, good])
    assert [verdict and verdict.code for verdict in verdicts] == [
        "harness_unknown",
        "payload_not_object",
        "payload_not_object",
        "session_unnamed",
        None,
    ]
    assert len(client.find_sessions()) == 1


def test_a_subagent_is_a_session_spawned_by_its_parent(client: SessionContinuity) -> None:
    script = Script()
    script.begin()
    agent = {"agent_id": "a37bf904e2dd5c7ba", "agent_type": "general-purpose"}
    parameters = {"description": "probe", "prompt": "look", "subagent_type": "general-purpose"}
    script.calls("toolu_1", "Agent", **parameters)
    script.hook("SubagentStart", **agent)
    script.hook("PreToolUse", tool_name="Bash", tool_input={"command": "ls"}, tool_use_id="toolu_2", **agent)
    script.hook("SubagentStop", stop_hook_active=False, **agent)
    script.ends("toolu_1", "Agent", {"status": "completed", "agentId": agent["agent_id"]}, **parameters)
    for _ in range(2):
        capture(client).store(script.hooks)
    sessions = {session.harness_session_id: session for session in client.find_sessions()}
    parent, child = sessions[script.session_id], sessions[agent["agent_id"]]
    assert (child.relation, child.parent_instance_id, child.status) == ("spawned", parent.instance_id, "closed")
    spawned = client.read_events(parent.instance_id, event_type="task_spawned")
    assert [(e.event_data["description"], e.event_data["tool_call_id"]) for e in spawned] == [("probe", "toolu_1")]


def test_nothing_is_lost_when_the_database_is_away(client: SessionContinuity, script: Script) -> None:
    """The recording's facts are told again after a batch that failed, although its reader has passed them."""
    live = capture(client)
    live.store(script.hooks[:3])
    flush = Recorder.flush

    def fails(self: Recorder) -> None:
        raise OSError("the connection broke")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "flush", fails)
        with pytest.raises(OSError, match="broke"):
            live.store(script.hooks[3:])
    assert Recorder.flush is flush
    live.store(script.hooks[3:])
    answers = [
        e.event_data["text"]
        for e in client.read_events(only_session(client), event_type="note_recorded")
        if e.event_data["kind"] == "answer"
    ]
    assert answers == ["I will look at the tests first.", "The limiter is begun."]


def test_two_drains_that_meet_double_nothing(new_database: NewDatabase, script: Script) -> None:
    """The spool's lock keeps them apart; the database does, too."""
    found = []
    for drains in (1, 3):
        database = new_database()
        with SessionContinuity(dsn=database) as client:
            script.write()
            captures = [capture(client) for _ in range(drains)]

            def drain(live: LiveCapture) -> None:
                for batch in batches(script.hooks, 4):
                    live.store(batch)

            assert together([partial(drain, live) for live in captures]) == [None] * drains
            events = client.read_events(only_session(client))
            assert [event.sequence_num for event in events] == list(range(1, len(events) + 1))
        found.append(rows(database, ordered=False))
    assert found[0]["command_log"] == found[1]["command_log"]
    assert found[0]["event_store"] == found[1]["event_store"]


@pytest.mark.parametrize("harness", ["claude", "codex", "gemini", "opencode"])
def test_what_real_clients_told_their_hooks_is_stored_once(new_database: NewDatabase, harness: str) -> None:
    folder = RECORDED / harness
    if not folder.is_dir():
        pytest.skip(f"{folder} with captured payloads is not there")
    records = recorded(folder)
    found = []
    for size in (len(records), 1, 7):
        database = new_database()
        with SessionContinuity(dsn=database) as client:
            for _ in range(2):
                for batch in batches(records, size):
                    assert capture(client).store(batch) == [None] * len(batch)
            assert client.search_commands(outcome="success" if harness != "codex" else "unknown")
            for session in client.find_sessions():
                events = client.read_events(session.instance_id)
                assert [event.sequence_num for event in events] == list(range(1, len(events) + 1))
        found.append(rows(database))
    assert found[0] == found[1] == found[2]


def recorded(folder: Path) -> list[SpoolRecord]:
    """Captured payloads as records, a second apart."""
    names = {"claude": "claude-code", "gemini": "gemini-cli"}
    harness = names.get(folder.name, folder.name)
    records = []
    for number, file in enumerate(sorted(folder.glob("[0-9]*.json"))):
        event = file.stem.partition("-")[2]
        record = SpoolRecord(
            name=f"{harness}@{event}@7@{number:05d}",
            harness=harness,
            event=event,
            client_pid=7,
            host=None,
            captured_at=START + timedelta(seconds=number),
            payload=file.read_bytes(),
        )
        records.append(record)
    return records


# Controls: the same checks fail when what they guard is taken out.


def test_control_hooks_alone_in_other_batches_differ_when_the_recorder_forgets(
    new_database: NewDatabase, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_session, "_known_of", lambda *_: {})
    found = []
    for size in (500, 1):
        database = new_database()
        with SessionContinuity(dsn=database) as client:
            for batch in batches(script.hooks, size):
                capture(client).store(batch)
        found.append(rows(database))
    assert found[0] != found[1]


def test_control_the_recording_doubles_what_hooks_told_when_it_tells_all(
    new_database: NewDatabase, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    from session_continuity.capture.recorder.tail import Filling

    def tells_all(self: Filling, fact: object, recorder: Recorder) -> bool:
        recorder.record(fact)  # type: ignore[arg-type]
        return True

    monkeypatch.setattr(Filling, "tell", tells_all)
    with SessionContinuity(dsn=new_database()) as client:
        capture(client).store(script.hooks)
        prompts = client.read_events(only_session(client), event_type="prompt_submitted")
        assert len(prompts) > 4
