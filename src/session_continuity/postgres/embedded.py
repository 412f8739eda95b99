"""The life cycle of the embedded PostgreSQL: made once, started when it is needed, stopped on demand.

One lock file in the home serialises all who make, start or stop the server. Its folder is `<home>/postgres`:
`data` (the cluster), `socket`, `postgres.log` and the settings, which are written anew at each start.

PostgreSQL refuses to run as root, so for root it runs as `postgres` or `nobody`, and the data belongs to that
user. Where that user can't reach the home (root's own is closed to all others, and opening it is not ours to
do), the server's folder is `/var/lib/session-continuity/<hash of the home>` instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from session_continuity.domain.errors import DeadlineExceeded, Refused, SessionContinuityError, Unavailable
from session_continuity.postgres.binaries import Binaries, find_binaries, is_reachable, reachable_for

ROLE = "continuity"
DATABASE = "supervisor_meta"

_PORT = 5432
_SOCKET_FILE = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH = 103
_UNPRIVILEGED_USERS = ("postgres", "nobody")
_FOLDERS_FOR_ROOT = Path("/var/lib/session-continuity")
_UNFINISHED = "data.unfinished-"
_LARGEST_LOG = 10 * 1024 * 1024
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_LOCALE = "C" if sys.platform == "darwin" else "C.UTF-8"
_PAUSE = 0.01

_CHANGEABLE_SETTINGS = """\
shared_buffers = '128MB'
max_connections = 100
"""

_FIXED_SETTINGS = """\
listen_addresses = ''
port = {port}
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
hba_file = {hba_file}
ident_file = {ident_file}
password_encryption = 'scram-sha-256'
fsync = on
full_page_writes = on
synchronous_commit = on
client_connection_check_interval = '1s'
log_destination = 'stderr'
logging_collector = off
log_min_messages = warning
# Values of rejected statements hold captured text: they must not reach the log.
log_min_error_statement = panic
log_error_verbosity = terse
"""

_State = Literal["absent", "stopped", "starting", "running"]

# Servers started by this process: kept so that a dead one is reaped and not left as a zombie.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedStatus:
    """What is known about the server without starting it.

    `version` is the binaries' ("18.4"), `data_version` the major version that made the data ("18").
    """

    state: _State
    pid: int | None
    data_folder: Path
    socket_folder: Path
    binaries: Path | None
    version: str | None
    data_version: str | None
    log_file: Path


class EmbeddedServer:
    """The PostgreSQL of one home folder.

    Nobody counts its users: it outlives the process that started it and runs until `stop`.
    """

    def __init__(self, home: Path, *, binaries: Path | None = None) -> None:
        """Touches nothing yet; `binaries` is a bin folder to be preferred to those found."""
        self._home = Path(os.path.realpath(home))
        self._configured = binaries

    def ensure_running(self, timeout: float = 30.0) -> str:
        """Makes and starts the server where needed and returns its conninfo; at most `timeout` seconds.

        Raises Refused when folders belong to somebody else or the data is of another major version,
        InvalidInput when the configured binaries are none, Unavailable when it does not start, and
        DeadlineExceeded when it needs longer, for instance to recover: it then goes on by itself.
        """
        place = _locate(self._home)
        running = _find_server(place)
        if running is None or not running.ready or not _socket_is_ours(place):
            with _plain_errors(place):
                self._start(place, _Deadline(timeout))
        return self.conninfo()

    def conninfo(self) -> str:
        """How to connect, whether it runs or not. Raises Refused when this user can't run a server."""
        place = _locate(self._home)
        values = {
            "host": str(place.sockets),
            "port": str(_PORT),
            "user": ROLE,
            "dbname": DATABASE,
            "requirepeer": place.account.name,
        }
        return " ".join(f"{key}='{_escaped(value)}'" for key, value in values.items())

    def stop(self, timeout: float = 30.0) -> bool:
        """Ends all connections and stops the server; False when it was not running.

        Raises DeadlineExceeded when it has not ended in time, and Refused when it is another user's.
        """
        place = _locate(self._home)
        deadline = _Deadline(timeout)
        with _plain_errors(place):
            _refuse_foreign_folders(place)
            if not place.data.exists():
                return False
            with _locked(place, deadline):
                server = _find_server(place)
                if server is None and _answers(place):
                    raise Refused(f"The server of {place.data} runs in another container; stop it there.")
                if server is None:
                    return False
                os.kill(server.pid, signal.SIGINT)
                while _role_of(server.pid, place.data) is not None:
                    deadline.pause("PostgreSQL is still shutting down; try again")
        _reap()
        return True

    def status(self) -> EmbeddedStatus:
        """The present state; starts nothing and waits for nothing. Raises Refused for another user's data."""
        place = _locate(self._home)
        with _plain_errors(place):
            _refuse_foreign_folders(place)
            major = _data_major(place)
            server = _find_server(place)
        try:
            binaries = find_binaries(self._configured, major)
        except SessionContinuityError:
            binaries = None
        return EmbeddedStatus(
            state=_state_of(place, server, major),
            pid=server.pid if server is not None else None,
            data_folder=place.data,
            socket_folder=place.sockets,
            binaries=binaries.folder if binaries is not None else None,
            version=binaries.version if binaries is not None else None,
            data_version=str(major) if major is not None else None,
            log_file=place.log_file,
        )

    def _start(self, place: _Place, deadline: _Deadline) -> None:
        _refuse_foreign_folders(place)
        with suppress(FileExistsError):
            self._home.mkdir(mode=0o700, parents=True)
        with _locked(place, deadline):
            launched: _Launched | None = None
            while True:
                waiting_for = "PostgreSQL is still starting; try again, it goes on by itself"
                server = _find_server(place)
                if server is not None and server.ready:
                    if _socket_is_ours(place):
                        return
                    # Something cleaned the socket away: nobody can reach this server any more.
                    os.kill(server.pid, signal.SIGINT)
                elif server is None and (launched is None or launched.was_killed()):
                    launched = self._launch(place, deadline)
                    if launched is None and not _end_leftovers(place) and _answers(place):
                        return
                    if launched is None:
                        waiting_for = f"Processes of a former server still use {place.data}; end them"
                deadline.pause(waiting_for)

    def _launch(self, place: _Place, deadline: _Deadline) -> _Launched | None:
        """Starts a postmaster, or returns None while processes of a former one are still there."""
        _prepare_folders(place)
        if _data_major(place) is None:
            _initialise(place, self._binaries(place), deadline)
        # The server and all its processes keep this lock for life. Unlike a process id it can't be reused,
        # and it is seen from a container that shares the folder but not the process table.
        data = os.open(place.data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_settings(place)
            # PostgreSQL would believe these files when the process id in them belongs to somebody else now.
            for stale in (place.data / "postmaster.pid", place.sockets / f"{_SOCKET_FILE}.lock"):
                stale.unlink(missing_ok=True)
            return _Launched.run(place, self._binaries(place), data)
        except BlockingIOError:
            return None
        finally:
            os.close(data)

    def _binaries(self, place: _Place) -> Binaries:
        found = find_binaries(self._configured, _data_major(place))
        if os.geteuid() != 0:
            return found
        return reachable_for(found, place.account.uid, place.account.gid, place.base / "binaries")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """The operating system's user that runs the server."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, entry: pwd.struct_passwd) -> _Account:
        return cls(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the server of one home lives, and who runs it; `passages` are the caller's own folders above."""

    home: Path
    base: Path
    passages: tuple[Path, ...]
    sockets: Path
    account: _Account

    @property
    def data(self) -> Path:
        return self.base / "data"

    @property
    def log_file(self) -> Path:
        return self.base / "postgres.log"

    @property
    def socket_file(self) -> Path:
        return self.sockets / _SOCKET_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """A live postmaster, found through postmaster.pid and checked against the process table."""

    pid: int
    phase: str

    @property
    def ready(self) -> bool:
        return self.phase == "ready"


class _Deadline:
    """The moment a call has to end."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def pause(self, message: str) -> None:
        """Waits a moment; raises DeadlineExceeded with `message` when the time is up."""
        if self.remaining() == 0:
            raise DeadlineExceeded(f"{message}.")
        time.sleep(_PAUSE)


# --- places and their owners


def _locate(home: Path) -> _Place:
    """The place that belongs to a home, made or not. Raises Refused when no user is there to run a server."""
    if os.geteuid() == 0:
        account, base = _locate_for_root(home)
        spare = (_FOLDERS_FOR_ROOT, _FOLDERS_FOR_ROOT / _short_hash(home))
    else:
        account, base = _own_account(), home / "postgres"
        spare = (Path("/tmp", f"continuity-{account.uid}"),)  # noqa: S108
    passages = spare if base in spare else (base,)
    sockets = base / "socket"
    # A comma separates hosts in a conninfo.
    if len(os.fsencode(sockets / _SOCKET_FILE)) > _LONGEST_SOCKET_PATH or "," in str(sockets):
        passages = (base, *spare)
        sockets = spare[-1] / f"socket-{_short_hash(home)}"
    return _Place(home=home, base=base, passages=passages, sockets=sockets, account=account)


def _locate_for_root(home: Path) -> tuple[_Account, Path]:
    accounts: list[_Account] = []
    for name in _UNPRIVILEGED_USERS:
        with suppress(KeyError):
            accounts.append(_Account.of(pwd.getpwnam(name)))
    if not accounts:
        raise Refused(
            "PostgreSQL does not run as root, and neither of the users postgres and nobody exists. "
            "Create one, run as another user, or set CONTINUITY_DSN to a running server."
        )
    shared, separate = home / "postgres", _FOLDERS_FOR_ROOT / _short_hash(home)
    for base in (shared, separate):
        with suppress(OSError):
            owner = (base / "data").lstat().st_uid
            return next((each for each in accounts if each.uid == owner), accounts[0]), base
    account = accounts[0]
    reachable = home.is_dir() and is_reachable(home, account.uid, account.gid)
    return account, shared if reachable else separate


def _own_account() -> _Account:
    try:
        return _Account.of(pwd.getpwuid(os.geteuid()))
    except KeyError:
        raise Refused(
            f"User id {os.geteuid()} has no entry in the password file, and PostgreSQL does not run without. "
            "Add one, or set CONTINUITY_DSN to a running server."
        ) from None


def _short_hash(home: Path) -> str:
    return hashlib.blake2b(os.fsencode(home), digest_size=6).hexdigest()


def _refuse_foreign_folders(place: _Place) -> None:
    """Raises Refused when a folder is somebody else's, or closed to the user that runs the server."""
    caller = os.geteuid()
    for folder, owners in (
        (place.home, {caller, 0}),
        (place.base, {caller}),
        (place.data, {place.account.uid}),
    ):
        with suppress(FileNotFoundError):
            _refuse_foreign(folder, folder.lstat(), owners)
    other = place.account
    if other.uid != caller and place.data.exists() and not is_reachable(place.base, other.uid, other.gid):
        raise Refused(
            f"The server runs as user {other.name}, who can't enter {place.base} any more. "
            "Let others pass through each folder above it (chmod o+x), or move the home."
        )


def _refuse_foreign(folder: Path, entry: os.stat_result, owners: set[int]) -> None:
    if not stat.S_ISDIR(entry.st_mode):
        raise Refused(
            f"{folder} is not a folder of its own (a link or a file). Remove it or use another home."
        )
    if entry.st_uid not in owners:
        owner, expected = _user_name(entry.st_uid), " or ".join(sorted(_user_name(uid) for uid in owners))
        raise Refused(
            f"{folder} belongs to user {owner}, expected was {expected}. "
            f"Run as {owner}, or set CONTINUITY_HOME to a folder of your own with a short path.",
            folder=str(folder),
            owner=owner,
        )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _prepare_folders(place: _Place) -> None:
    """Makes the folders around the data, puts their modes right and removes unfinished clusters."""
    # The server's user must get through the folders that hold its own.
    passage = 0o711 if os.geteuid() == 0 else 0o700
    for folder in place.passages:
        _make_folder(folder, os.geteuid(), passage)
    _make_folder(place.sockets, place.account.uid, 0o700)
    if place.data.exists():
        _make_folder(place.data, place.account.uid, 0o700)
    for leftover in place.base.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _make_folder(folder: Path, uid: int, mode: int) -> None:
    """Makes one folder of ours, or corrects it. Raises Refused for a link or another user's folder."""
    with suppress(FileExistsError):
        folder.mkdir(mode=mode)
    entry = folder.lstat()
    _refuse_foreign(folder, entry, {uid, os.geteuid()})
    if entry.st_uid != uid:
        os.chown(folder, uid, -1, follow_symlinks=False)
    if stat.S_IMODE(entry.st_mode) != mode:
        folder.chmod(mode)


# --- the lock


@contextmanager
def _locked(place: _Place, deadline: _Deadline) -> Generator[None]:
    file = place.home / "postgres.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                deadline.pause(
                    f"Another process is starting or stopping PostgreSQL and holds {file}; try again"
                )
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _plain_errors(place: _Place) -> Generator[None]:
    try:
        yield
    except PermissionError as error:
        raise Refused(
            f"{error.filename or place.base} can't be used by this user: {error.strerror}. "
            "Set CONTINUITY_HOME to a folder of your own."
        ) from error
    except OSError as error:
        raise Unavailable(f"The embedded PostgreSQL in {place.base} can't be managed: {error}") from error


# --- the process table


def _find_server(place: _Place) -> _Server | None:
    """The server that postmaster.pid names, if that process is really the postmaster of this data."""
    try:
        with (place.data / "postmaster.pid").open("rb") as file:
            lines = file.read(4096).decode(errors="replace").splitlines()
    except OSError:
        return None
    # A single-user session writes its process id with a minus.
    digits = lines[0].strip().removeprefix("-") if lines else ""
    if not (digits.isascii() and digits.isdigit()):
        return None
    pid = int(digits)
    if _role_of(pid, place.data) != "postmaster":
        return None
    return _Server(pid=pid, phase=lines[7].strip() if len(lines) > 7 else "starting")


def _role_of(pid: int, data: Path) -> Literal["postmaster", "child"] | None:
    """What a process is to the server of `data`: None for a foreign, a dead or a dead but unreaped one."""
    if sys.platform != "linux":
        return _role_by_ps(pid, data)
    process = Path("/proc", str(pid))
    try:
        title = process.joinpath("cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        # The server works inside its data folder, whatever that was called when it started. A dead process
        # that nobody reaped has no folder any more.
        at_home = process.joinpath("cwd").samefile(data)
    except OSError:
        return None
    if not at_home:
        return None
    if title.startswith("postgres:"):
        return "child"
    return "postmaster" if title.rpartition("/")[2] == "postgres" else None


def _role_by_ps(pid: int, data: Path) -> Literal["postmaster"] | None:
    answer = subprocess.run(
        ["ps", "-o", "state=,command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    phase, _, command = answer.stdout.strip().partition(" ")
    is_server = "postgres" in command and str(data) in command and not phase.startswith("Z")
    return "postmaster" if is_server else None


def _end_leftovers(place: _Place) -> bool:
    """Ends what is left of a server whose postmaster died or lost its postmaster.pid; False if nothing is."""
    roles = {
        pid: role
        for entry in Path("/proc").glob("[0-9]*")
        if (role := _role_of(pid := int(entry.name), place.data)) is not None
    }
    postmasters = [pid for pid, role in roles.items() if role == "postmaster"]
    for pid in postmasters or roles:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT if postmasters else signal.SIGQUIT)
    return bool(roles)


def _socket_is_ours(place: _Place) -> bool:
    """Whether the socket is there, in a private folder, and belongs to the user that runs the server."""
    try:
        folder, file = place.sockets.lstat(), place.socket_file.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(folder.st_mode) and stat.S_IMODE(folder.st_mode) == 0o700
    owned = {folder.st_uid, file.st_uid} == {place.account.uid}
    return private and owned and stat.S_ISSOCK(file.st_mode)


def _answers(place: _Place) -> bool:
    """Whether a server we can't see in the process table listens in our folder."""
    if not _socket_is_ours(place):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(place.socket_file)) == 0


def _state_of(place: _Place, server: _Server | None, major: int | None) -> _State:
    if server is not None:
        return "starting" if server.phase == "starting" else "running"
    if _answers(place):
        return "running"
    return "absent" if major is None else "stopped"


def _reap() -> None:
    """Forgets the servers started here that have ended, so that they leave no zombies."""
    _children[:] = [child for child in _children if child.poll() is None]


# --- making and starting


def _data_major(place: _Place) -> int | None:
    try:
        return int((place.data / "PG_VERSION").read_text().strip())
    except FileNotFoundError:
        return None
    except ValueError:
        raise Refused(
            f"{place.data / 'PG_VERSION'} holds no version. Restore the folder from a copy."
        ) from None


def _initialise(place: _Place, binaries: Binaries, deadline: _Deadline) -> None:
    """Makes the cluster and its database under another name: `data` exists only when it is whole."""
    if place.data.exists() and any(place.data.iterdir()):
        raise Refused(
            f"{place.data} is not empty and holds no PostgreSQL data. Move it away, then try again."
        )
    unfinished = place.base / f"{_UNFINISHED}{os.urandom(4).hex()}"
    _make_folder(unfinished, place.account.uid, 0o700)
    try:
        _run(
            place,
            [
                str(binaries.folder / "initdb"),
                f"--pgdata={unfinished}",
                f"--username={ROLE}",
                "--encoding=UTF8",
                f"--locale={_LOCALE}",
                "--data-checksums",
                "--auth-local=peer",
                "--auth-host=reject",
            ],
            "",
            deadline,
        )
        _append_include(unfinished / "postgresql.conf")
        answer = _run(
            place,
            [str(binaries.folder / "postgres"), "--single", "-D", str(unfinished), "postgres"],
            f"CREATE DATABASE {DATABASE};\nSELECT datname FROM pg_database;\n",
            deadline,
        )
        if f'"{DATABASE}"' not in answer:
            raise Unavailable(f"The database {DATABASE} could not be made: {_last_lines(answer)}")
        unfinished.rename(place.data)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for folder in (place.base, place.base.parent):
        _flush_folder(folder)


def _append_include(settings: Path) -> None:
    descriptor = os.open(settings, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    try:
        os.write(descriptor, b"\ninclude_if_exists = '../session_continuity.conf'\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_settings(place: _Place) -> None:
    """Writes what the server reads at its start, with what the user put into `<home>/postgresql.conf`."""
    client = pwd.getpwuid(os.geteuid()).pw_name
    additions = place.home / "postgresql.conf"
    own = additions.read_text() if additions.is_file() else ""
    fixed = _FIXED_SETTINGS.format(
        port=_PORT,
        sockets=_quoted('"' + str(place.sockets).replace('"', '""') + '"'),
        hba_file=_quoted(str(place.base / "pg_hba.conf")),
        ident_file=_quoted(str(place.base / "pg_ident.conf")),
    )
    _replace(place.base / "session_continuity.conf", f"{_CHANGEABLE_SETTINGS}\n{own}\n{fixed}")
    _replace(place.base / "pg_hba.conf", f"local all all peer map={ROLE}\n")
    _replace(place.base / "pg_ident.conf", f'{ROLE} "{client}" {ROLE}\n')


def _quoted(value: str) -> str:
    return f"'{_escaped(value)}'"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _replace(file: Path, text: str) -> None:
    if file.exists() and file.read_text() == text:
        return
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.chmod(0o644 if os.geteuid() == 0 else 0o600)
    unfinished.replace(file)


def _run(place: _Place, command: list[str], text: str, deadline: _Deadline) -> str:
    """Runs a program to its end with `text` as input and returns all it said; raises Unavailable if it fails."""
    process = _popen(place, command, subprocess.PIPE, subprocess.PIPE, subprocess.STDOUT)
    try:
        answer, _ = process.communicate(text.encode(), timeout=deadline.remaining())
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded("PostgreSQL's data folder could not be made in time; try again.") from None
    finally:
        process.kill()
        process.wait()
    output = answer.decode(errors="replace")
    if process.returncode != 0:
        name = Path(command[0]).name
        raise Unavailable(f"{name} failed with status {process.returncode}: {_last_lines(output)}")
    return output


def _last_lines(output: str) -> str:
    """The end of a program's output, on one line for an error message."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-4:]) or "it said nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launched:
    """A postmaster just started, and where its own words begin in the log."""

    process: subprocess.Popen[bytes]
    log_file: Path
    log_start: int

    @classmethod
    def run(cls, place: _Place, binaries: Binaries, lifelong_lock: int) -> _Launched:
        if place.log_file.exists() and place.log_file.stat().st_size > _LARGEST_LOG:
            place.log_file.replace(place.log_file.with_suffix(".log.1"))
        log = os.open(place.log_file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            start = os.fstat(log).st_size
            command = [str(binaries.folder / "postgres"), "-D", str(place.data)]
            process = _popen(
                place, command, subprocess.DEVNULL, log, log, survives=True, inherited=(lifelong_lock,)
            )
        finally:
            os.close(log)
        _reap()
        _children.append(process)
        return cls(process=process, log_file=place.log_file, log_start=start)

    def was_killed(self) -> bool:
        """Whether a signal ended it. Raises Unavailable with its last words when it gave up by itself."""
        status = self.process.poll()
        if status is None or status < 0:
            return status is not None
        with self.log_file.open("rb") as file:
            file.seek(self.log_start)
            words = file.read(65536).decode(errors="replace")
        raise Unavailable(f"PostgreSQL did not start: {_last_lines(words)} (log: {self.log_file})")


def _popen(
    place: _Place,
    command: list[str],
    source: int,
    output: int,
    errors: int,
    *,
    survives: bool = False,
    inherited: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Starts a program of the server as the server's user, with none of the caller's settings."""
    is_root = os.geteuid() == 0
    return subprocess.Popen(
        command,
        stdin=source,
        stdout=output,
        stderr=errors,
        env=_ENVIRONMENT,
        cwd="/",
        umask=0o077,
        user=place.account.uid if is_root else None,
        group=place.account.gid if is_root else None,
        extra_groups=() if is_root else None,
        start_new_session=survives,
        pass_fds=inherited,
    )
