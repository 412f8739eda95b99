"""One resident process per data folder; who it is can be told, and nobody else is signalled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.client.proxy import Proxy

from session_continuity import Refused
from session_continuity.capture.serving import ensure_serving, find_resident
from session_continuity.capture.spool.spool import Spool
from session_continuity.postgres.embedded import EmbeddedServer
from session_continuity.processes import seen_process
from session_continuity.resident_process import residence, stop_resident
from session_continuity.settings import load_settings

from .conftest import Residents, environment, put, ready, wait_until

STATE = {
    "role": "serve",
    "url": "http://127.0.0.1:1",
    "version": "0",
    "started_at": "2026-01-01T00:00:00+00:00",
    "condition": "working",
    "since": "2026-01-01T00:00:00+00:00",
    "reason": None,
}


def test_of_two_started_at_once_one_serves_and_the_other_says_who(residents: Residents, database: str) -> None:
    home = residents.folder / "home"
    for _ in range(3):
        both = [residents.start("serve", str(home), database) for _ in range(2)]
        wait_until(lambda: any(process.poll() is not None for process in both))  # noqa: B023
        loser, winner = sorted(both, key=lambda process: process.poll() is None)
        _, errors = loser.communicate()
        assert loser.returncode == 5
        assert f"Process {winner.pid} " in errors
        assert ready(winner, home).end() == 0


def test_the_state_file_is_private_and_gone_after_the_end(residents: Residents, database: str) -> None:
    running = residents.serve(database)
    file = running.home / "serve.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((running.home / "logs" / "serve.log").stat().st_mode) == 0o600
    state = running.state()
    assert (state["pid"], state["url"], state["role"]) == (running.process.pid, running.url, "serve")
    found = find_resident(running.home)
    assert found is not None
    assert found.pid == running.process.pid
    assert stop_resident(running.home)
    assert running.process.wait(5) == 0
    assert not file.exists()
    assert not stop_resident(running.home)


def test_after_kill_9_the_next_one_takes_over(residents: Residents, database: str) -> None:
    for _ in range(3):
        killed = residents.serve(database)
        killed.end(signal.SIGKILL)
        assert (killed.home / "serve.json").exists()
        assert find_resident(killed.home) is None
        assert not stop_resident(killed.home)


def mark_of(pid: int) -> str:
    seen = seen_process(pid, since=datetime.now(UTC))
    assert seen is not None
    return seen.started


def test_a_foreign_process_with_the_same_id_is_never_signalled(tmp_path: Path) -> None:
    foreign = subprocess.Popen(["sleep", "60"])
    try:
        for told_start in ("another boot:1", mark_of(os.getpid())):
            state = {**STATE, "pid": foreign.pid, "process_start": told_start}
            (tmp_path / "serve.json").write_text(json.dumps(state))
            assert find_resident(tmp_path) is None
            assert not stop_resident(tmp_path)
        assert foreign.poll() is None
        # Control: only the moment of its start keeps it from being taken for the resident process.
        (tmp_path / "serve.json").write_text(json.dumps({**state, "process_start": mark_of(foreign.pid)}))
        assert find_resident(tmp_path) is not None
        assert stop_resident(tmp_path, 5) or foreign.wait(5)
        assert foreign.wait(5) == -signal.SIGTERM
    finally:
        foreign.kill()
        foreign.wait()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"pid": 1}', json.dumps({**STATE, "pid": "1", "process_start": "x"}).encode()],
)
def test_a_torn_state_file_is_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "serve.json").write_bytes(content)
    assert find_resident(tmp_path) is None
    assert not stop_resident(tmp_path)
    with residence(tmp_path) as held:
        held.announce("serve", "http://127.0.0.1:1")
        assert find_resident(tmp_path) is not None


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "serve.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=r"serve\.lock"), residence(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_home_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(Refused, match="another user"), residence(tmp_path):
        pass


def test_a_stop_in_a_drain_that_never_ends_loses_nothing(residents: Residents, database: str) -> None:
    running = residents.serve(database, role="stuck")
    names = [put(running.spool, "s", number) for number in range(3)]
    assert running.process.stdout is not None
    assert running.process.stdout.readline().strip() == "stuck"
    assert running.end() == 0
    assert [record.name for record in running.spool.pending()] == names


def test_a_stop_while_the_database_is_silent_loses_nothing(residents: Residents, database: str) -> None:
    with Proxy(database) as proxy:
        running = residents.serve(proxy.conninfo)
        put(running.spool, "s", 0)
        wait_until(lambda: running.spool.names() == [])
        proxy.mode = "black hole"
        names = [put(running.spool, "s", number) for number in range(1, 3)]
        wait_until(lambda: not lock_is_free(running.spool))
        assert running.end() == 0
        assert running.spool.names() == names


def lock_is_free(spool: Spool) -> bool:
    with spool.locked() as free:
        return free


def test_it_ends_when_its_data_folder_is_gone(residents: Residents, database: str) -> None:
    """Nobody could find it any more, and another one could be started beside it."""
    running = residents.serve(database)
    running.home.rename(residents.folder / "moved")
    assert running.process.wait(10) == 0
    assert not running.home.exists()


def test_nobody_is_started_where_that_is_switched_off(tmp_path: Path) -> None:
    ensure_serving(load_settings(home=tmp_path / "home", serve_on_demand=False))
    assert not (tmp_path / "home").exists()


def test_who_is_started_detached_outlives_its_starter(residents: Residents, tmp_path: Path) -> None:
    """The starter exits at once, as a hook does; and none of its secrets go along."""
    home = tmp_path / "home"
    code = (
        "import os, sys; from pathlib import Path\n"
        "from session_continuity.capture.serving import ensure_serving\n"
        "from session_continuity.settings import load_settings\n"
        "os.environ['GEMINI_API_KEY'] = 'secret-of-the-harness'\n"
        f"ensure_serving(load_settings(home={str(home)!r}))"
    )
    starter = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=10)
    assert starter.stdout == b""
    wait_until(lambda: find_resident(home) or (home / "logs" / "serve.log").read_bytes())
    found = find_resident(home)
    assert found is not None, (home / "logs" / "serve.log").read_text()
    try:
        environ = Path("/proc", str(found.pid), "environ").read_bytes()
        assert b"secret-of-the-harness" not in environ
        assert str(home).encode() in environ
        assert Path("/proc", str(found.pid), "cwd").readlink() == Path("/")
        opened = {os.readlink(each) for each in Path("/proc", str(found.pid), "fd").iterdir() if each.is_symlink()}
        assert str(home / "logs" / "serve.log") in opened
    finally:
        assert stop_resident(home)
    EmbeddedServer(home).stop()


NOBODY = 65_534
PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")


@pytest.fixture
def home_of_nobody() -> Iterator[Path]:
    """A home of the user `nobody` with a short path, as its sockets want."""
    folder = Path(tempfile.mkdtemp(prefix="continuity-serve-", dir="/tmp"))
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir(0o700)
    os.chown(home, NOBODY, NOBODY)
    yield home
    as_nobody("-m", "session_continuity", "--home", str(home), "db", "stop")
    shutil.rmtree(folder)


def as_nobody(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PYTHON, *words], user=NOBODY, group=NOBODY, cwd="/", env=environment(), capture_output=True, check=False
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="this is an ordinary user's run already: the other tests show it")
@pytest.mark.skipif(not PYTHON.exists(), reason=f"there is no {PYTHON}, which every user may run")
def test_an_ordinary_user_is_served(residents: Residents, home_of_nobody: Path) -> None:
    """With the embedded server of its own home."""
    if as_nobody("-c", "import session_continuity.resident").returncode != 0:
        pytest.skip("the user nobody can't read this project's folder")
    running = ready(residents.start("serve", str(home_of_nobody), "-", python=PYTHON, user=NOBODY), home_of_nobody)
    code = (
        "import sys; from pathlib import Path; from session_continuity.capture.spool.spool import Spool\n"
        """Spool(Path(sys.argv[1])).put('claude-code', 'Stop', b'{"session": "s", "number": 1}')"""
    )
    assert as_nobody("-c", code, str(home_of_nobody / "spool")).returncode == 0
    wait_until(lambda: not any("@" in name for name in os.listdir(home_of_nobody / "spool")), 30)
    assert running.state()["condition"] == "working"
    assert running.end() == 0
