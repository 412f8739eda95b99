"""The slow road: keeps the record, waits until it is stored, answers; and never fails the agent."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.capture.hooking import (
    assert_silent,
    command,
    event_store,
    numbered,
    run_hook,
    start_nothing,
    stored_numbers,
)

from session_continuity import SessionContinuity, Settings
from session_continuity.capture.hook import hook
from session_continuity.capture.hook.answers import context_answer, refusal_answer
from session_continuity.capture.spool.drain import Rejected, Store
from session_continuity.capture.spool.spool import Spool, SpoolRecord

HEAVY = ("psycopg", "click", "rich", "orjson", "asyncio", "json", "subprocess", "session_continuity.client")


@dataclass
class Notice:
    """What the fence says of a session."""

    text: str
    block: bool


@dataclass
class Parts:
    """The modules that the slow road asks, with answers that a test sets."""

    store: Store | None = None
    briefing: str | None = "Go on where it stopped."
    notice: Notice | None = None
    asked: list[str] = field(default_factory=list)
    on_store: Callable[[], None] | None = None

    def live_store(self, client: SessionContinuity) -> Store:
        wrapped = event_store(client) if self.store is None else self.store

        def store(records: Sequence[SpoolRecord]) -> Sequence[Rejected | None]:
            if self.on_store is not None:
                self.on_store()
            return wrapped(records)

        return store

    def ensure_serving(self, settings: Settings) -> None:
        self.asked.append("ensure_serving")

    def answer_session_start(self, client: SessionContinuity, record: SpoolRecord) -> str | None:
        self.asked.append(
            f"answer_session_start {stored_numbers(client, json.loads(record.payload)['replay_session'])}"
        )
        return self.briefing

    def find_fence_notice(self, settings: Settings, record: SpoolRecord) -> Notice | None:
        self.asked.append(f"find_fence_notice {record.event}")
        return self.notice


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    parts = Parts()
    for name, functions in {
        "recorder.live": ("live_store",),
        "serving": ("ensure_serving",),
        "hook.start_briefing": ("answer_session_start",),
        "recorder.fence_notice": ("find_fence_notice",),
    }.items():
        module = ModuleType(name)
        for function in functions:
            setattr(module, function, getattr(parts, function))
        monkeypatch.setitem(sys.modules, f"session_continuity.capture.{name}", module)
    return parts


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose hooks have four seconds; the environment names a database that is not ours."""
    monkeypatch.setenv("CONTINUITY_DSN", "host=/of/the/repository")
    return start_nothing(tmp_path / "home")


@pytest.fixture
def connected(home: Path, database: str) -> Path:
    """The same with the test's database."""
    return start_nothing(home, database, seconds=300)


class Call:
    """Runs the slow road inside the test's process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, home: Path, event: str, payload: bytes, harness: str = "claude-code") -> str:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(payload)))
        self._capfd.readouterr()
        assert hook.main([harness, event, "4711", str(home)]) == 0
        out, err = self._capfd.readouterr()
        assert err == ""
        return out


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    return Call(monkeypatch, capfd)


def log_of(home: Path) -> str:
    file = home / "logs" / "hook.log"
    return file.read_text() if file.exists() else ""


def test_session_start_is_stored_before_it_is_answered(
    client: SessionContinuity, connected: Path, parts: Parts, call: Call
) -> None:
    Spool(connected / "spool").put("claude-code", "Stop", numbered("s", 1))
    told = json.loads(call(connected, "SessionStart", numbered("s", 2)))
    assert told["hookSpecificOutput"] == {
        "hookEventName": "SessionStart",
        "additionalContext": "Go on where it stopped.",
    }
    assert parts.asked == ["ensure_serving", "answer_session_start [1, 2]"]
    assert stored_numbers(client, "s") == [1, 2]
    assert Spool(connected / "spool").names() == []
    assert log_of(connected) == ""


def test_before_compaction_nothing_is_said_and_all_is_stored(
    client: SessionContinuity, connected: Path, parts: Parts, call: Call
) -> None:
    assert call(connected, "PreCompact", numbered("s", 1)) == ""
    assert (parts.asked, stored_numbers(client, "s")) == (["ensure_serving"], [1])


def test_without_a_briefing_nothing_is_said(connected: Path, parts: Parts, call: Call) -> None:
    parts.briefing = None
    assert call(connected, "SessionStart", numbered("s", 1)) == ""


def test_a_record_that_another_drain_holds_is_waited_for(
    client: SessionContinuity, connected: Path, parts: Parts, call: Call
) -> None:
    spool = Spool(connected / "spool")
    other_began = threading.Event()

    def other_drain() -> None:
        with spool.locked() as held:
            assert held
            other_began.set()
            while not (names := spool.names()):
                time.sleep(0.01)
            time.sleep(0.1)
            event_store(client)([spool.read(name) for name in names])
            for name in names:
                spool.remove(name)

    parts.store = lambda _: pytest.fail("the other one drains")
    thread = threading.Thread(target=other_drain)
    thread.start()
    assert other_began.wait(10)
    assert call(connected, "SessionStart", numbered("s", 1)) != ""
    thread.join()
    assert parts.asked[-1] == "answer_session_start [1]"


def test_with_the_database_away_the_record_waits_and_the_agent_goes_on(
    home: Path, parts: Parts, call: Call
) -> None:
    assert call(home, "SessionStart", numbered("s", 1)) == ""
    assert parts.asked == ["ensure_serving"]
    assert len(Spool(home / "spool").names()) == 1
    assert "Unavailable" in log_of(home)
    assert (home / "logs" / "hook.log").stat().st_mode & 0o777 == 0o600


def test_the_environment_does_not_say_where_data_goes(home: Path, parts: Parts, call: Call) -> None:
    call(home, "SessionStart", numbered("s", 1))
    assert "/nowhere" in log_of(home)
    assert "repository" not in log_of(home)


def test_when_its_time_is_used_up_the_hook_ends_and_the_record_waits(
    connected: Path, parts: Parts, call: Call
) -> None:
    start_nothing(connected, seconds=0.5)
    parts.store = lambda _: time.sleep(60)  # pyright: ignore[reportAttributeAccessIssue]
    began = time.monotonic()
    assert call(connected, "SessionStart", numbered("s", 1)) == ""
    assert time.monotonic() - began < 30
    assert "OutOfTime" in log_of(connected)
    spool = Spool(connected / "spool")
    assert (len(spool.names()), spool.quarantined()) == (1, [])
    with spool.locked() as free:
        assert free


def test_a_record_that_can_not_be_stored_is_not_answered(connected: Path, parts: Parts, call: Call) -> None:
    assert call(connected, "SessionStart", b"no JSON") == ""
    assert parts.asked == ["ensure_serving"]
    assert len(Spool(connected / "spool").quarantined()) == 1


@pytest.mark.parametrize("block", [True, False])
def test_a_fenced_session_is_told_and_its_tools_are_refused(
    home: Path, parts: Parts, call: Call, block: bool
) -> None:
    parts.notice = Notice("shop-PS-abc123 took over.", block)
    told = json.loads(call(home, "PreToolUse", numbered("s", 1)))["hookSpecificOutput"]
    said = "permissionDecisionReason" if block else "additionalContext"
    assert told[said] == "shop-PS-abc123 took over."
    assert told.get("permissionDecision") == ("deny" if block else None)
    assert call(home, "Stop", numbered("s", 2)) == "", "a text at Stop would keep the turn going"
    assert "additionalContext" in call(home, "UserPromptSubmit", numbered("s", 3))
    assert len(Spool(home / "spool").names()) == 3
    assert "ensure_serving" not in parts.asked


def test_a_session_that_is_not_the_fenced_one_goes_on(home: Path, parts: Parts, call: Call) -> None:
    assert call(home, "PreToolUse", numbered("s", 1)) == ""
    assert parts.asked == ["find_fence_notice PreToolUse"]


@pytest.mark.parametrize("broken", ["recorder.live", "serving", "hook.start_briefing", "recorder.fence_notice"])
def test_a_part_that_breaks_stops_nobody_and_its_message_is_not_logged(
    connected: Path, parts: Parts, call: Call, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("secret of the payload")

    module = sys.modules[f"session_continuity.capture.{broken}"]
    for name in list(vars(module)):
        if not name.startswith("_"):
            monkeypatch.setattr(module, name, fail)
    spool = Spool(connected / "spool")
    event = "PreToolUse" if broken == "recorder.fence_notice" else "SessionStart"
    said = call(connected, event, numbered("s", 1))
    assert bool(said) == (broken == "serving")
    assert len(spool.names()) == (broken in ("recorder.live", "recorder.fence_notice"))
    assert "ValueError" in log_of(connected)
    assert "secret" not in log_of(connected)


def test_bad_settings_lose_no_record(home: Path, parts: Parts, call: Call) -> None:
    (home / "settings.toml").write_text("dsn = 3")
    assert call(home, "SessionStart", numbered("s", 1)) == ""
    assert len(Spool(home / "spool").names()) == 1
    assert "InvalidInput: settings" in log_of(home)


def test_what_can_not_be_kept_is_counted_and_a_fenced_tool_is_refused_all_the_same(
    home: Path, parts: Parts, call: Call
) -> None:
    parts.notice = Notice("taken over", block=True)
    spool = Spool(home / "spool")
    (spool.folder / "full").touch()
    assert "deny" in call(home, "PreToolUse", numbered("s", 1))
    assert (spool.names(), spool.status().lost) == ([], 1)
    assert "Refused: the spool is full" in log_of(home)


def test_the_log_is_kept_short_and_can_not_be_written_through_a_link(
    home: Path, parts: Parts, call: Call, tmp_path: Path
) -> None:
    logs = home / "logs"
    logs.mkdir()
    (logs / "hook.log").write_text("x" * (2**20 + 1))
    call(home, "SessionStart", numbered("s", 1))
    assert (logs / "hook.log.1").stat().st_size == 2**20 + 1
    assert len(log_of(home)) < 2_000
    (logs / "hook.log").unlink()
    (logs / "hook.log").symlink_to(tmp_path / "elsewhere")
    call(home, "SessionStart", numbered("s", 2))
    assert not (tmp_path / "elsewhere").exists()


def test_as_a_process_it_keeps_the_record_before_it_reads_its_settings(home: Path) -> None:
    (home / "settings.toml").write_text("dsn = 3")
    assert_silent(run_hook(command(home, "SessionStart"), numbered("s", 1)))
    (record,) = Spool(home / "spool").pending()
    assert record.client_pid == os.getpid()
    assert "InvalidInput" in log_of(home)


def test_a_session_start_is_stored_with_what_waited_before_its_process_ends(
    client: SessionContinuity, connected: Path, tmp_path: Path
) -> None:
    """All parts are the real ones."""
    told = {"session_id": "5e55104e-0000-4000-8000-000000000001", "cwd": str(tmp_path), "transcript_path": None}
    for event, more in (
        ("SessionStart", {"source": "startup"}),
        ("UserPromptSubmit", {"prompt": "Bring the tests to pass"}),
        ("PreToolUse", {"tool_name": "Bash", "tool_use_id": "t1", "tool_input": {"command": "make test"}}),
        ("PreCompact", {"trigger": "auto", "custom_instructions": ""}),
    ):
        payload = json.dumps({**told, "hook_event_name": event, **more}).encode()
        assert_silent(run_hook(command(connected, event), payload))
    assert log_of(connected) == ""
    (session,) = client.find_sessions()
    assert (session.harness, session.pid) == ("claude-code", os.getpid())
    (running,) = client.search_commands(instance_id=session.instance_id)
    assert (running.tool_call_id, running.outcome) == ("t1", None)
    assert client.recover_state(session.instance_id).work_state["prompts"][-1]["text"] == "Bring the tests to pass"
    assert client.latest_checkpoint(session.instance_id).metadata["reason"]
    spool = Spool(connected / "spool").status()
    assert (spool.waiting, spool.quarantined, spool.lost) == (0, 0, 0)


def test_a_spool_that_is_not_private_is_not_used_by_the_slow_road(home: Path) -> None:
    Spool(home / "spool").folder.chmod(0o755)
    assert_silent(run_hook(command(home, "SessionStart"), numbered("s", 1)))
    assert "chmod 700" in log_of(home)
    (home / "spool").chmod(0o700)
    (record,) = Spool(home / "spool").pending()
    assert record.payload == numbered("s", 1), "hook.sh kept it, in a file that nobody else can read"
    assert (home / "spool" / record.name).stat().st_mode & 0o777 == 0o600


def test_nothing_heavy_is_loaded_to_keep_a_record() -> None:
    code = (
        "import sys, session_continuity.capture.hook.hook; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['json']\n"


def test_each_harness_has_its_own_form() -> None:
    for harness, event in (("claude-code", "PreToolUse"), ("codex", "PreToolUse"), ("gemini-cli", "BeforeTool")):
        assert "deny" in str(refusal_answer(harness, event, "why"))
        assert refusal_answer(harness, "Stop", "why") is None
    assert refusal_answer("opencode", "tool.execute.before", "why") == '{"block": true, "reason": "why"}'
    assert refusal_answer("opencode", "session.idle", "why") is None
    assert context_answer("opencode", "session.created", "text") == '{"additionalContext": "text"}'
    for harness in ("claude-code", "codex", "gemini-cli"):
        assert "text" in str(context_answer(harness, "SessionStart", "text"))
        for event in ("Stop", "SubagentStop", "SessionEnd", "PreCompact", "BeforeTool"):
            assert context_answer(harness, event, "text") is None
    assert context_answer("unknown", "SessionStart", "text") is None
