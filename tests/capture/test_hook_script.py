"""hook.sh, run as a harness runs it: the record is kept whole or not at all, and the agent is never disturbed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.capture.hooking import assert_silent, command, drafts, needs_strace, run_hook, small_disk, start_nothing

from session_continuity import InvalidInput
from session_continuity.capture.hook import command as module
from session_continuity.capture.hook.command import ANSWERED, FLUSHED, SCRIPT, hook_command, hook_line
from session_continuity.capture.spool.spool import RECORD_LIMIT, Spool
from session_continuity.settings import load_settings

PAYLOAD = json.dumps({"session_id": "s", "tool_input": {"command": "echo «x»\n" * 500}}).encode()
SHELLS = [shell for shell in ("dash", "bash", "zsh", "busybox") if shutil.which(shell)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return start_nothing(tmp_path / "home of a user's")


@pytest.fixture
def spool(home: Path) -> Spool:
    return Spool(home / "spool")


def lost(home: Path) -> int:
    return len(list((home / "spool" / "lost").iterdir()))


@pytest.mark.parametrize(
    "payload",
    [PAYLOAD, b"x", b"no newline, NUL \0, no UTF-8 \xff, \x1b[31m", bytes(range(256)) * 20_000, b"\n" * 3],
    ids=["json", "one byte", "bytes", "5 MB", "newlines"],
)
def test_a_payload_becomes_one_private_record_byte_by_byte(home: Path, spool: Spool, payload: bytes) -> None:
    before = datetime.now(UTC)
    assert_silent(run_hook(command(home), payload))
    (record,) = spool.pending()
    assert (record.harness, record.event, record.client_pid) == ("claude-code", "PreToolUse", os.getpid())
    assert record.payload == payload
    assert abs((record.captured_at - before).total_seconds()) < 60
    assert (spool.folder / record.name).stat().st_mode & 0o777 == 0o600
    assert drafts(home) == []


@pytest.mark.parametrize("event", ["PreToolUse", "Stop"])
@pytest.mark.parametrize("shell", SHELLS)
def test_any_shell_keeps_it(home: Path, spool: Spool, shell: str, event: str) -> None:
    words = command(home, event)
    starter = ["busybox", "sh"] if shell == "busybox" else [shell]
    assert_silent(run_hook([*starter, *words[1:]], PAYLOAD))
    assert [record.payload for record in spool.pending()] == [PAYLOAD]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_one_line_form_finds_the_client_through_the_shell_between(
    home: Path, spool: Spool, shell: str
) -> None:
    line = hook_line(load_settings(home=home), "codex", "PreToolUse")
    starter = ["busybox", "sh"] if shell == "busybox" else [shell]
    assert_silent(run_hook([*starter, "-c", line], PAYLOAD))
    assert [record.client_pid for record in spool.pending()] == [os.getpid()]


def test_only_claude_code_is_believed_its_pid(home: Path, spool: Spool) -> None:
    environment = {"PATH": "/usr/bin:/bin", "CLAUDE_PID": "4711"}
    for harness, pid in (("claude-code", 4711), ("codex", os.getpid())):
        assert_silent(run_hook(command(home, harness=harness), PAYLOAD, environment=environment))
        assert [record.client_pid for record in spool.pending() if record.harness == harness] == [pid]
    assert_silent(run_hook(command(home), PAYLOAD, environment=environment | {"CLAUDE_PID": "1; reboot"}))
    assert spool.pending()[-1].client_pid == os.getpid()


def test_a_first_hook_makes_the_spool_private(home: Path) -> None:
    assert_silent(run_hook(command(home), PAYLOAD))
    assert len(Spool(home / "spool").pending()) == 1


def test_without_the_kernels_random_names_mktemp_gives_them(home: Path, spool: Spool) -> None:
    inner = 'mount -t tmpfs none /proc && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", inner, "sh"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("/proc can't be hidden here: needs root")
    for _ in range(3):
        assert_silent(run_hook([*words, *command(home)], PAYLOAD))
    assert [record.payload for record in spool.pending()] == [PAYLOAD] * 3
    assert all(re.search(r"-[A-Za-z0-9]{16}$", name) for name in spool.names())


def test_nothing_told_is_nothing_kept(home: Path, spool: Spool) -> None:
    assert_silent(run_hook(command(home), b""))
    assert (spool.names(), drafts(home), lost(home)) == ([], [], 0)


@pytest.mark.parametrize("event", ["PreToolUse", "SessionStart"])
@pytest.mark.parametrize("damage", ["gone", "cut", "unreadable"])
def test_a_package_that_is_gone_or_half_written_disturbs_nobody(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, event: str
) -> None:
    script = tmp_path / "hook.sh"
    monkeypatch.setattr(module, "SCRIPT", script)
    if damage != "gone":
        script.write_text(SCRIPT.read_text()[:-700] if damage == "cut" else "exit 3")
    if damage == "unreadable":
        script.chmod(0)
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
    assert_silent(run_hook(command(home, event), PAYLOAD * 200))


def test_without_the_guard_a_missing_script_would_block_a_tool(tmp_path: Path) -> None:
    """Control: why the command is not just `sh hook.sh`."""
    assert run_hook(["/bin/sh", str(tmp_path / "gone.sh")], PAYLOAD).returncode != 0


@pytest.mark.parametrize("obstacle", ["file", "no path", "read only"])
def test_a_spool_that_can_not_be_written_disturbs_nobody(home: Path, obstacle: str) -> None:
    words, environment = command(home), None
    if obstacle == "file":
        (home / "spool").write_text("not a folder")
    elif obstacle == "no path":
        environment = {"PATH": "/nowhere"}
    else:
        words[4] = "/proc/nowhere/spool"
    assert_silent(run_hook(words, PAYLOAD, environment=environment))


def test_a_spool_over_its_capacity_counts_what_it_refuses(home: Path, spool: Spool) -> None:
    (spool.folder / "full").touch()
    words = command(home)
    with subprocess.Popen(words, stdin=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"}) as hook:
        assert hook.stdin is not None
        hook.stdin.write(PAYLOAD * 1_000)  # raises BrokenPipeError when the hook does not read it
        hook.stdin.close()
    assert hook.returncode == 0
    assert (spool.names(), drafts(home), lost(home)) == ([], [], 1)
    (spool.folder / "full").unlink()
    assert_silent(run_hook(words, PAYLOAD))
    assert len(spool.names()) == 1


def test_a_payload_over_the_limit_is_counted_and_fills_no_disk(home: Path, spool: Spool) -> None:
    assert_silent(run_hook(command(home), b"x" * RECORD_LIMIT))
    assert_silent(run_hook(command(home), b"x" * (RECORD_LIMIT + 1)))
    assert [len(record.payload) for record in spool.pending()] == [RECORD_LIMIT]
    assert (drafts(home), lost(home)) == ([], 1)


def test_on_a_full_disk_the_agent_goes_on_and_the_loss_is_counted(home: Path) -> None:
    with small_disk(home / "disk", "256k") as disk:
        spool = Spool(disk / "spool")
        (disk / "ballast").write_bytes(b"x" * 180_000)
        words = command(start_nothing(disk))
        assert_silent(run_hook(words, b"y" * 4_000))
        for count in (1, 2):
            assert_silent(run_hook(words, b"z" * 100_000))
            assert (len(spool.names()), spool.status().lost, drafts(disk)) == (1, count, [])
        assert_silent(run_hook(command(disk, "SessionStart"), b"z" * 100_000))
        assert spool.status().lost == 3, "the slow road counts, too"
        (disk / "ballast").unlink()
        assert_silent(run_hook(words, b"z" * 100_000))
        assert [len(record.payload) for record in spool.pending()] == [4_000, 100_000]


def test_without_an_inode_left_the_agent_goes_on(home: Path) -> None:
    with small_disk(home / "disk", "1m,nr_inodes=12") as disk:
        spool = Spool(disk / "spool")
        for _ in range(20):
            assert_silent(run_hook(command(disk), PAYLOAD))
        assert 0 < len(spool.names()) < 12
        assert [record.payload for record in spool.pending()] == [PAYLOAD] * len(spool.names())
        assert drafts(disk) == []


def test_events_are_kept_in_three_ways(home: Path) -> None:
    settings = load_settings(home=home)
    modes = {event: hook_command(settings, "claude-code", event)[-1] for event in ("PreToolUse", "PreCompress")}
    assert set(modes.values()) == {"quick"}
    assert {hook_command(settings, "codex", event)[-1] for event in FLUSHED} == {"flush"}
    assert {hook_command(settings, "codex", event)[-1] for event in ANSWERED} == {"answer"}
    words = hook_command(settings, "claude-code", "Stop")
    assert [os.path.isabs(words[place]) for place in (0, 3, 4, 7)] == [True] * 4
    assert shlex.split(hook_line(settings, "claude-code", "Stop")) == ["exec", *words]
    for harness, event in (("codex", "a b"), ("codex", "$(reboot)"), ("../x", "Stop")):
        with pytest.raises(InvalidInput):
            hook_command(settings, harness, event)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A stand-in for the interpreter that tells what it was asked and ends as its file `ends` says."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nprintf "%s " "$@"; . "${0%/*}/ends"\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("event", ["SessionStart", "PreToolUse"])
def test_the_slow_road_answers_where_it_must(home: Path, spool: Spool, python: Path, event: str) -> None:
    (python.parent / "ends").write_text("cat")
    words = command(home, event)
    words[7] = str(python)
    fenced = spool.folder / "fenced"
    fenced.mkdir()
    if event == "PreToolUse":
        assert_silent(run_hook(words, PAYLOAD))
        assert len(spool.names()) == 1
        (fenced / "5e55").touch()
    done = run_hook(words, PAYLOAD)
    asked = f"-I -m session_continuity.capture.hook.hook claude-code {event} {os.getpid()} {home} "
    assert (done.returncode, done.stdout, done.stderr) == (0, asked.encode() + PAYLOAD, b"")
    assert len(spool.names()) == (event == "PreToolUse")


@pytest.mark.parametrize("ends", ["exit 1", "echo broken >&2; exit 127", "kill -9 $$", None])
def test_where_the_slow_road_can_not_be_taken_the_record_is_kept(
    home: Path, spool: Spool, python: Path, ends: str | None
) -> None:
    words = command(home, "SessionStart")
    words[7] = str(python)
    python.write_text(f"#!/bin/sh\n{ends}\n")
    if ends is None:
        python.unlink()
    assert_silent(run_hook(words, PAYLOAD))
    assert [record.payload for record in spool.pending()] == [PAYLOAD]


@needs_strace
def test_killed_at_each_of_its_system_calls_a_record_is_whole_or_absent(home: Path, spool: Spool) -> None:
    calls = traced_calls(command(home, "Stop"), home)
    assert {"openat", "write", "close", "execve"} <= calls.keys()
    assert {"rename", "renameat", "renameat2"} & calls.keys()
    kept = killed = points = 0
    for call, times in calls.items():
        for time_ in range(1, times + 1):
            clear(spool)
            words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={time_}"]
            done = run_hook([*words, *command(home, "Stop")], PAYLOAD)
            points += 1
            assert (done.stdout, done.stderr) == (b"", b"")
            records = [record.payload for record in spool.pending()]
            assert records in ([], [PAYLOAD]), (call, time_)
            assert len(drafts(home)) <= 1
            if done.returncode == 0:
                assert len(records) + lost(home) >= 1, (call, time_, "ended well without a record or a loss")
            kept, killed = kept + len(records), killed + (done.returncode != 0)
    print(f"\n{points} points: {killed} ended by the kill, {kept} records whole")
    assert 0 < kept < points
    assert killed > points / 4


@needs_strace
def test_an_error_of_each_system_call_is_survived_in_silence(home: Path, spool: Spool) -> None:
    calls, needed_to_start = traced_calls(command(home, "Stop"), home), calls_before_the_script(home)
    kept = points = 0
    for call in calls.keys() & {"openat", "write", "close", "fsync", "rename", "renameat", "renameat2"}:
        for error in ("ENOSPC", "EIO"):
            for time_ in range(needed_to_start.get(call, 0) + 1, calls[call] + 1):
                clear(spool)
                inject = f"inject={call}:error={error}:when={time_}"
                words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, *command(home, "Stop")]
                assert_silent(run_hook(words, PAYLOAD))
                records = [record.payload for record in spool.pending()]
                assert records in ([], [PAYLOAD]), (call, error, time_)
                assert len(records) + lost(home) == 1, (call, error, time_)
                points, kept = points + 1, kept + len(records)
    print(f"\n{points} points: {kept} records whole, the others counted")
    assert 0 < kept < points


@needs_strace
def test_flushed_means_the_file_before_it_is_renamed_and_the_folder_after_it(home: Path, spool: Spool) -> None:
    assert flush_order(run_traced(command(home, "Stop"), home)) == ["draft", "rename", "folder"]
    assert flush_order(run_traced(command(home, "PreToolUse"), home)) == ["rename"], "control"


@needs_strace
def test_the_slow_road_flushes_in_the_same_order(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from session_continuity.capture.spool.spool import Spool\n"
        "Spool(Path(sys.argv[1])).put('codex', 'Stop', b'{}', flush=sys.argv[2] == 'flush')"
    )
    words = [sys.executable, "-c", code, str(home / "spool")]
    assert flush_order(run_traced([*words, "flush"], home)) == ["draft", "rename", "folder"]
    assert flush_order(run_traced([*words, ""], home)) == ["rename"], "control"


def traced_calls(words: list[str], home: Path) -> dict[str, int]:
    """How often one process of the hook made each call that names or uses a file: the most of any of them."""
    counts: dict[tuple[str, str], int] = {}
    for line in run_traced(words, home, "%file,%desc,read,write,close,execve"):
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            counts[match[1], match[2]] = counts.get((match[1], match[2]), 0) + 1
    most: dict[str, int] = {}
    for (_, call), count in counts.items():
        most[call] = max(count, most.get(call, 0))
    return most


def calls_before_the_script(home: Path) -> dict[str, int]:
    """How often the shell itself made each call until hook.sh was open."""
    counts: dict[str, int] = {}
    for line in run_traced(command(home, "Stop"), home, "%file,%desc,close"):
        if match := re.match(r"\d+ +(\w+)\(", line):
            counts[match[1]] = counts.get(match[1], 0) + 1
        if "hook.sh" in line and "openat(" in line:
            break
    return counts


def run_traced(words: list[str], home: Path, calls: str = "%file,fsync,fdatasync") -> list[str]:
    """The lines of strace for one hook call, with the path of every descriptor."""
    output = home.parent / f"trace-{time.monotonic_ns()}"
    assert_silent(
        run_hook(["strace", "-f", "-y", "-qq", "-o", str(output), "-e", f"trace={calls}", *words], PAYLOAD)
    )
    return output.read_text(errors="replace").splitlines()


def flush_order(lines: list[str]) -> list[str]:
    """The flushes of draft and folder and the rename, in the order they were made."""
    order: list[str] = []
    for line in lines:
        if re.search(r"f(data)?sync\(\d+<.*/spool/\.", line):
            order.append("draft")
        elif re.search(r"f(data)?sync\(\d+<.*/spool>", line):
            order.append("folder")
        elif re.search(r"rename(at|at2)?\(.*= 0", line):
            order.append("rename")
    return order


def clear(spool: Spool) -> None:
    """An empty spool again."""
    for path in [*spool.folder.glob(".*"), *(spool.folder / "lost").iterdir()]:
        path.unlink()
    for name in spool.names():
        spool.remove(name)
