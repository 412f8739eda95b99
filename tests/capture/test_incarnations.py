"""A harness's session over its incarnations: resumed, cleared, compacted, killed, taken over by another."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.capture.scripted import Script, capture, shell

from session_continuity import SessionContinuity, processes
from session_continuity.capture.hook.start_briefing import BRIEF_CHARACTERS, answer_session_start
from session_continuity.capture.recorder import incarnations, live
from session_continuity.capture.recorder.fence_notice import find_fence_notice, sweep_fences
from session_continuity.capture.spool.spool import Spool
from session_continuity.domain.session_registry import Session


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Spool(tmp_path / "home" / "spool")
    return tmp_path / "home"


@pytest.fixture
def client(database: str, home: Path) -> Iterator[SessionContinuity]:
    """The library with a data folder that hooks use."""
    with SessionContinuity(dsn=database, home=home) as client:
        yield client


@pytest.fixture
def agent() -> Iterator[subprocess.Popen[bytes]]:
    """A real process that stands for the client."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def script_now(folder: Path, session_id: str = "aaaaaaaa-0000-4000-8000-000000000001", **more: object) -> Script:
    """A script whose hooks are called from now on, in a folder that is there."""
    return Script(session_id=session_id, cwd=str(folder), start=datetime.now(UTC), **more)  # type: ignore[arg-type]


def sessions(client: SessionContinuity) -> list[Session]:
    """All, in the order in which they began."""
    return sorted(client.find_sessions(), key=incarnations.beginning)


def test_a_resume_of_a_closed_session_begins_an_instance_on_its_thread(client: SessionContinuity) -> None:
    script = Script()
    script.begin()
    script.prompt("build it")
    script.hook("SessionEnd", reason="logout")
    script.begin("resume")
    script.prompt("go on")
    for _ in range(2):
        capture(client).store(script.hooks)
    first, second = sessions(client)
    assert (second.thread_id, second.owner_epoch, second.relation) == (first.thread_id, 2, "resumed_from")
    assert first.superseded_by == second.instance_id
    prompts = client.recover_state(second.instance_id).work_state["prompts"]
    assert [prompt["text"] for prompt in prompts] == ["build it", "go on"]
    assert answer_session_start(client, script.hooks[3]) is None  # the harness has its conversation


def test_a_resume_of_a_living_session_goes_on(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    script = script_now(tmp_path, pid=agent.pid)
    script.begin()
    script.begin("resume")
    capture(client).store(script.hooks)
    assert len(sessions(client)) == 1


def test_clear_begins_a_thread_and_compaction_does_not(client: SessionContinuity) -> None:
    script = Script()
    script.begin()
    script.begin("compact")
    script.hook("SessionEnd", reason="clear")
    script.begin("clear")
    script.prompt("something else")
    for _ in range(2):
        capture(client).store(script.hooks)
    first, second = sessions(client)
    assert first.thread_id != second.thread_id
    assert second.relation is None
    state = client.recover_state(second.instance_id).work_state
    assert [prompt["text"] for prompt in state["prompts"]] == ["something else"]


def test_late_records_of_an_earlier_instance_find_it(client: SessionContinuity) -> None:
    script = Script()
    script.begin()
    late = script.hook("PreToolUse", tool_name="Bash", tool_input={"command": "make"}, tool_use_id="toolu_1")
    script.hook("SessionEnd", reason="logout")
    script.begin("resume")
    capturing = capture(client)
    capturing.store([record for record in script.hooks if record is not late])
    assert capturing.store([late]) == [None]
    first, second = sessions(client)
    (command,) = client.search_commands()
    assert (command.instance_id, command.late) == (first.instance_id, True)
    assert client.search_commands(instance_id=second.instance_id) == []


def killed_in_a_command(client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]) -> Session:
    script = script_now(tmp_path, pid=agent.pid, transcript=tmp_path / "killed.jsonl")
    script.begin()
    script.prompt("migrate the orders table")
    script.says("I start with a backup.")
    script.calls("toolu_1", "Bash", command="make migrate-orders")
    script.write()
    capture(client).store(script.hooks)
    (session,) = sessions(client)
    assert session.metadata["process"]["pid"] == agent.pid
    assert not incarnations.is_gone(session)
    kill(agent)
    assert incarnations.is_gone(session)
    return session


def test_a_killed_session_is_found_dead_and_its_thread_goes_on_with_the_brief(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    dead = killed_in_a_command(client, tmp_path, agent)
    new = script_now(tmp_path, "bbbbbbbb-0000-4000-8000-000000000002", pid=os.getpid())
    start = new.begin()
    for _ in range(2):
        capture(client).store([start])
    _, successor = sessions(client)
    assert (successor.thread_id, successor.owner_epoch) == (dead.thread_id, 2)
    assert client.get_session(dead.instance_id).superseded_by == successor.instance_id
    (command,) = client.search_commands(instance_id=dead.instance_id)
    assert command.outcome == "unknown"
    brief = answer_session_start(client, start)
    assert brief is not None
    assert len(brief) <= BRIEF_CHARACTERS
    first, last = brief[:1_500], brief[-400:]
    assert f"You are {successor.instance_id} and go on where it (epoch 1, stale) stopped" in first
    assert "migrate the orders table" in first
    assert "make migrate-orders" in first
    assert "First find out what became of the 1 command(s) of unknown outcome" in last
    # What the recording alone told was stored before the fence came down.
    state = client.recover_state(successor.instance_id).work_state
    assert state["last_answer"] is not None
    assert state["last_answer"]["text"] == "I start with a backup."


def test_the_brief_of_a_long_session_stays_short_with_the_essentials_first_and_last(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    script = script_now(tmp_path, pid=agent.pid)
    script.begin()
    for number in range(30):
        script.prompt(f"prompt {number} " + "ä long text " * 200)
        script.calls(f"toolu_{number}", "Bash", command=f"make step-{number} " + "é" * 500)
    capture(client).store(script.hooks)
    kill(agent)
    big = client.settings
    client.settings = replace(big, brief_tokens=100_000)
    start = script_now(tmp_path, "bbbbbbbb-0000-4000-8000-000000000002").begin()
    capture(client).store([start])
    brief = answer_session_start(client, start)
    assert brief is not None
    assert 5_000 < len(brief) <= BRIEF_CHARACTERS
    assert "prompt 29" in brief[:2_000]
    assert "unknown outcome" in brief[-400:]


def test_the_harness_own_resume_of_a_killed_session_gets_the_brief(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    dead = killed_in_a_command(client, tmp_path, agent)
    later = datetime.now(UTC) + timedelta(seconds=30)
    start = script_now(tmp_path, pid=os.getpid()).begin("resume")
    start = replace(start, name="claude-code@SessionStart@1@again", captured_at=later)
    capture(client).store([start])
    _, successor = sessions(client)
    assert (successor.parent_instance_id, successor.harness_session_id) == (
        dead.instance_id,
        dead.harness_session_id,
    )
    assert "make migrate-orders" in (answer_session_start(client, start) or "")


def test_a_killed_session_gets_its_brief_also_when_nothing_was_in_flight(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    script = script_now(tmp_path, pid=agent.pid)
    script.begin()
    script.prompt("build the bridge")
    capture(client).store(script.hooks)
    kill(agent)
    start = script.begin("resume")
    capture(client).store([start])
    assert "build the bridge" in (answer_session_start(client, start) or "")


@pytest.mark.parametrize(("setting", "told"), [("off", None), ("notice", "An earlier session of this folder")])
def test_by_setting_a_dead_thread_is_left_and_only_named(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes], setting: str, told: str | None
) -> None:
    dead = killed_in_a_command(client, tmp_path, agent)
    client.settings = replace(client.settings, session_start_brief=setting)
    start = script_now(tmp_path, "bbbbbbbb-0000-4000-8000-000000000002").begin()
    capture(client).store([start])
    assert client.get_session(dead.instance_id).superseded_by is None
    text = answer_session_start(client, start)
    assert (text or "").startswith(told or "")
    assert (text is None) == (told is None)
    if text:
        assert dead.instance_id in text
        assert "migrate the orders table" in text
        assert len(text) < 1_000


def test_a_session_that_lives_is_never_taken_over(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    script = script_now(tmp_path, pid=agent.pid)
    script.begin()
    script.prompt("build")
    start = script_now(tmp_path, "bbbbbbbb-0000-4000-8000-000000000002").begin()
    capture(client).store([*script.hooks, start])
    first, second = sessions(client)
    assert first.thread_id != second.thread_id
    assert answer_session_start(client, start) is None


def test_one_whose_process_was_never_seen_is_never_taken_over(client: SessionContinuity, tmp_path: Path) -> None:
    """Silence and an id that nobody has prove nothing: the hook may have told a shell's."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    script = script_now(tmp_path, pid=ended.pid)
    script.begin()
    script.prompt("build")
    start = script_now(tmp_path, "bbbbbbbb-0000-4000-8000-000000000002").begin()
    capture(client).store([*script.hooks, start])
    first, second = sessions(client)
    assert "process" not in first.metadata
    assert first.thread_id != second.thread_id


def test_a_session_of_another_folder_is_not_taken_over(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    dead = killed_in_a_command(client, tmp_path, agent)
    (tmp_path / "elsewhere").mkdir()
    start = script_now(tmp_path / "elsewhere", "bbbbbbbb-0000-4000-8000-000000000002").begin()
    capture(client).store([start])
    assert client.get_session(dead.instance_id).superseded_by is None


def test_records_of_days_ago_take_nothing_over(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    dead = killed_in_a_command(client, tmp_path, agent)
    old = replace(
        script_now(tmp_path, "bbbbbbbb-0000-4000-8000-000000000002").begin(),
        captured_at=datetime.now(UTC) - timedelta(days=2),
    )
    capture(client).store([old])
    assert client.get_session(dead.instance_id).superseded_by is None


def test_a_session_that_a_person_resumed_is_gone_on_with(client: SessionContinuity, tmp_path: Path) -> None:
    script = script_now(tmp_path)
    script.begin()
    script.prompt("build the bridge")
    capture(client).store(script.hooks)
    (old,) = sessions(client)
    waiting = client.resume_session(
        old.instance_id,
        origin=incarnations.Origin(host=socket.gethostname(), cwd=str(tmp_path)),
        metadata={"awaits_agent": True},
    ).successor
    assert waiting is not None
    start = script_now(tmp_path, "bbbbbbbb-0000-4000-8000-000000000002").begin()
    capture(client).store([start])
    agent_session = client.find_sessions(harness_session_id="bbbbbbbb-0000-4000-8000-000000000002")[0]
    assert (agent_session.parent_instance_id, agent_session.owner_epoch) == (waiting.instance_id, 3)
    assert "build the bridge" in (answer_session_start(client, start) or "")


def test_after_compaction_a_session_gets_the_brief_of_itself(client: SessionContinuity, tmp_path: Path) -> None:
    script = script_now(tmp_path)
    script.begin()
    script.prompt("build the bridge")
    script.calls("toolu_1", "Bash", command="make bridge")
    script.hook("PreCompact", trigger="auto", custom_instructions="")
    start = script.begin("compact")
    capture(client).store(script.hooks)
    (session,) = sessions(client)
    brief = answer_session_start(client, start)
    assert brief is not None
    assert "build the bridge" in brief
    assert "make bridge" in brief
    assert len(brief) <= BRIEF_CHARACTERS
    assert client.get_session(session.instance_id).superseded_by is None
    (checkpoint,) = client.list_checkpoints(session.instance_id)
    assert checkpoint.metadata["reason"] == "before compaction"


def test_a_fenced_session_is_told_and_its_late_records_are_kept_apart(
    client: SessionContinuity, home: Path, tmp_path: Path, agent: subprocess.Popen[bytes]
) -> None:
    script = script_now(tmp_path, pid=agent.pid)
    script.begin()
    script.prompt("build")
    capturing = capture(client)
    capturing.store(script.hooks)
    (loser,) = sessions(client)
    tool = script.hook("PreToolUse", tool_name="Bash", tool_input={"command": "make"}, tool_use_id="toolu_1")
    assert find_fence_notice(client.settings, tool) is None
    successor = client.resume_session(loser.instance_id).successor
    assert successor is not None
    ended = {"tool_name": "Bash", "tool_input": {"command": "pytest"}, "tool_use_id": "toolu_2"}
    records = [
        tool,
        script.hook("UserPromptSubmit", prompt="and now"),
        script.hook("PostToolUse", tool_response=shell("1 passed in 0.1s"), **ended),
        script.hook("Stop", stop_hook_active=False),
    ]
    verdicts = capturing.store(records)
    assert [verdict and verdict.code for verdict in verdicts] == [None, "fenced", "fenced", None]
    assert verdicts[1] is not None
    assert successor.instance_id in verdicts[1].reason
    commands = client.search_commands(instance_id=loser.instance_id)
    assert {(command.tool_call_id, command.late) for command in commands} == {("toolu_1", True), ("toolu_2", True)}
    assert client.get_session(loser.instance_id).last_sequence_num == loser.last_sequence_num
    notice = find_fence_notice(client.settings, tool)
    assert notice is not None
    assert notice.block
    assert successor.instance_id in notice.text
    assert "epoch 2" in notice.text
    told = find_fence_notice(replace(client.settings, fence_tools="tell"), tool)
    assert told is not None
    assert not told.block
    assert find_fence_notice(client.settings, Script(session_id="cccccccc-1").begin()) is None
    kill(agent)
    sweep_fences(client.settings)
    assert list((home / "spool" / "fenced").iterdir()) == []


def test_the_marker_goes_when_the_session_ends_or_goes_on_by_right(
    client: SessionContinuity, home: Path, tmp_path: Path
) -> None:
    script = Script()
    script.begin()
    capturing = capture(client)
    capturing.store(script.hooks)
    (first,) = sessions(client)
    successor = client.resume_session(first.instance_id).successor
    assert successor is not None
    fenced = home / "spool" / "fenced"
    capturing.store([script.hook("PreToolUse", tool_name="Bash", tool_input={}, tool_use_id="toolu_1")])
    assert [marker.name for marker in fenced.iterdir()] == [script.session_id]
    (verdict,) = capturing.store([script.hook("SessionEnd", reason="logout")])
    assert verdict is not None
    assert verdict.code == "fenced"
    assert list(fenced.iterdir()) == []
    capturing.store([script.hook("PreToolUse", tool_name="Bash", tool_input={}, tool_use_id="toolu_2")])
    client.close_session(successor.instance_id)
    capturing.store([script.begin("resume")])  # the owner has ended: the thread goes on here
    assert list(fenced.iterdir()) == []
    owner = client.find_resumable(first.instance_id)
    assert (owner.harness_session_id, owner.owner_epoch) == (script.session_id, 3)


@pytest.mark.parametrize("name", ["../../etc/passwd", ".hidden", "a/b", "x" * 2_000, "ünïcode"])
def test_a_marker_never_leaves_its_folder(client: SessionContinuity, home: Path, name: str) -> None:
    script = Script(session_id=name)
    script.begin()
    capturing = capture(client)
    capturing.store(script.hooks)
    (session,) = sessions(client)
    client.resume_session(session.instance_id)
    tool = script.hook("PreToolUse", tool_name="Bash", tool_input={}, tool_use_id="toolu_1")
    capturing.store([tool])
    (marker,) = (home / "spool" / "fenced").iterdir()
    assert not marker.name.startswith(".")
    assert json.loads(marker.read_bytes())["instance_id"] == session.instance_id
    assert find_fence_notice(client.settings, tool) is not None


def test_a_watch_reads_the_recordings_of_living_sessions_on(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_HOOKS_ARE_IN", timedelta(seconds=-60))
    script = script_now(tmp_path, pid=agent.pid, transcript=tmp_path / "t.jsonl")
    script.begin()
    capturing = capture(client)
    capturing.store(script.hooks)
    script.says("Nobody hooks this.")
    script.write()
    capturing.watch()
    (session,) = sessions(client)
    state = client.recover_state(session.instance_id).work_state
    assert state["last_answer"] is not None
    assert state["last_answer"]["text"] == "Nobody hooks this."


def test_a_process_is_told_from_another_of_its_number(agent: subprocess.Popen[bytes]) -> None:
    now = datetime.now(UTC)
    seen = processes.seen_process(agent.pid, since=now)
    assert seen is not None
    assert processes.is_running(seen)
    assert not processes.is_running(replace(seen, started="another boot:1"))
    assert processes.seen_process(agent.pid, since=now - timedelta(hours=1)) is None  # began after the hook
    agent.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_running(seen)  # dead, though nobody has collected it
    assert processes.process_from_json(seen.as_json()) == seen
    assert processes.process_from_json({"pid": "1"}) is None


def test_where_there_is_no_proc_ps_tells_the_same(
    agent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    seen = processes.seen_process(agent.pid, since=datetime.now(UTC))
    assert seen is not None
    assert processes.is_running(seen)
    kill(agent)
    assert not processes.is_running(seen)


def test_control_without_the_look_at_its_process_a_killed_session_is_not_found(
    client: SessionContinuity, tmp_path: Path, agent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = killed_in_a_command(client, tmp_path, agent)
    monkeypatch.setattr(incarnations, "is_gone", lambda _: False)
    start = script_now(tmp_path, "bbbbbbbb-0000-4000-8000-000000000002").begin()
    capture(client).store([start])
    assert client.get_session(dead.instance_id).superseded_by is None
