"""The life cycle of the embedded PostgreSQL: made once, started when it is needed, stopped on demand.

One lock file in the home serialises all who make, start or stop the server. Its folder is `<home>/postgres`:
`data` (the cluster), `socket`, `postgres.log` and the settings, which are written anew at each start.

PostgreSQL refuses to run as root, so for root it runs as `postgres` or `nobody`, and the data belongs to that
user. Where that user can't reach the home (root's own is closed to all others, and opening it is not ours to
do), the server's folder is `/var/lib/session-continuity/<hash of the home>` instead.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from session_continuity.domain.errors import Refused, SessionContinuityError, Unavailable
from session_continuity.postgres.binaries import Binaries, find_binaries, reachable_for
from session_continuity.postgres.server_folders import (
    PORT,
    SOCKET_FILE,
    UNFINISHED,
    Place,
    answers,
    locate,
    make_folder,
    prepare_folders,
    refuse_foreign_folders,
    socket_is_ours,
)
from session_continuity.postgres.server_process import (
    Deadline,
    Launched,
    Server,
    end_leftovers,
    find_server,
    last_lines,
    reap,
    role_of,
    run,
)

ROLE = "continuity"
DATABASE = "supervisor_meta"

_LOCALE = "C" if sys.platform == "darwin" else "C.UTF-8"

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
log_min_messages = log
# Values of rejected statements hold captured text: they must not reach the log.
log_min_error_statement = panic
log_error_verbosity = terse
"""

_State = Literal["absent", "stopped", "starting", "running"]


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

    def data_folder(self) -> Path:
        """Where its data is or will be. Raises Refused when this user can't run a server."""
        return locate(self._home).data

    def ensure_running(self, timeout: float = 30.0) -> str:
        """Makes and starts the server where needed and returns its conninfo; at most `timeout` seconds.

        Raises Refused when folders belong to somebody else or the data is of another major version,
        InvalidInput when the configured binaries are none, Unavailable when it does not start, and
        DeadlineExceeded when it needs longer, for instance to recover: it then goes on by itself.
        """
        place = locate(self._home)
        running = find_server(place)
        if running is None or not running.ready or not socket_is_ours(place):
            with _plain_errors(place):
                self._start(place, Deadline(timeout))
        return self.conninfo()

    def conninfo(self) -> str:
        """How to connect, whether it runs or not. Raises Refused when this user can't run a server."""
        place = locate(self._home)
        values = {
            "host": str(place.sockets),
            "port": str(PORT),
            "user": ROLE,
            "dbname": DATABASE,
            "requirepeer": place.account.name,
        }
        return " ".join(f"{key}='{_escaped(value)}'" for key, value in values.items())

    def stop(self, timeout: float = 30.0) -> bool:
        """Ends all connections and stops the server; False when it was not running.

        Raises DeadlineExceeded when it has not ended in time, and Refused when it is another user's.
        """
        place = locate(self._home)
        deadline = Deadline(timeout)
        with _plain_errors(place):
            refuse_foreign_folders(place)
            if not place.data.exists():
                return False
            with _locked(place, deadline):
                server = find_server(place)
                if server is None and answers(place):
                    raise Refused(f"The server of {place.data} runs in another container; stop it there.")
                if server is None:
                    return False
                os.kill(server.pid, signal.SIGINT)
                while role_of(server.pid, place.data) is not None:
                    deadline.pause("PostgreSQL is still shutting down; try again")
        reap()
        return True

    def status(self) -> EmbeddedStatus:
        """The present state; starts nothing and waits for nothing. Raises Refused for another user's data."""
        place = locate(self._home)
        with _plain_errors(place):
            refuse_foreign_folders(place)
            major = _data_major(place)
            server = find_server(place)
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

    def _start(self, place: Place, deadline: Deadline) -> None:
        refuse_foreign_folders(place)
        with suppress(FileExistsError):
            self._home.mkdir(mode=0o700, parents=True)
        with _locked(place, deadline):
            launched: Launched | None = None
            while True:
                waiting_for = "PostgreSQL is still starting; try again, it goes on by itself"
                server = find_server(place)
                if server is not None and server.ready:
                    if socket_is_ours(place):
                        return
                    # Something cleaned the socket away: nobody can reach this server any more.
                    os.kill(server.pid, signal.SIGINT)
                elif server is None and (launched is None or launched.was_killed()):
                    launched = self._launch(place, deadline)
                    if launched is None and not end_leftovers(place) and answers(place):
                        return
                    if launched is None:
                        waiting_for = f"Processes of a former server still use {place.data}; end them"
                deadline.pause(waiting_for)

    def _launch(self, place: Place, deadline: Deadline) -> Launched | None:
        """Starts a postmaster, or returns None while processes of a former one are still there."""
        prepare_folders(place)
        if _data_major(place) is None:
            _initialise(place, self._binaries(place), deadline)
        # The server and all its processes keep this lock for life. Unlike a process id it can't be reused,
        # and it is seen from a container that shares the folder but not the process table.
        data = os.open(place.data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_settings(place)
            # PostgreSQL would believe these files when the process id in them belongs to somebody else now.
            for stale in (place.data / "postmaster.pid", place.sockets / f"{SOCKET_FILE}.lock"):
                stale.unlink(missing_ok=True)
            return Launched.run(place, self._binaries(place), data)
        except BlockingIOError:
            return None
        finally:
            os.close(data)

    def _binaries(self, place: Place) -> Binaries:
        found = find_binaries(self._configured, _data_major(place))
        if os.geteuid() != 0:
            return found
        return reachable_for(found, place.account.uid, place.account.gid, place.base / "binaries")


@contextmanager
def _locked(place: Place, deadline: Deadline) -> Generator[None]:
    file = place.home / "postgres.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                deadline.pause(f"Another process is starting or stopping PostgreSQL and holds {file}; try again")
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _plain_errors(place: Place) -> Generator[None]:
    try:
        yield
    except PermissionError as error:
        raise Refused(
            f"{error.filename or place.base} can't be used by this user: {error.strerror}. "
            "Set CONTINUITY_HOME to a folder of your own."
        ) from error
    except OSError as error:
        raise Unavailable(f"The embedded PostgreSQL in {place.base} can't be managed: {error}") from error


def _state_of(place: Place, server: Server | None, major: int | None) -> _State:
    if server is not None:
        return "starting" if server.phase == "starting" else "running"
    if answers(place):
        return "running"
    return "absent" if major is None else "stopped"


def _data_major(place: Place) -> int | None:
    try:
        return int((place.data / "PG_VERSION").read_text().strip())
    except FileNotFoundError:
        return None
    except ValueError:
        raise Refused(f"{place.data / 'PG_VERSION'} holds no version. Restore the folder from a copy.") from None


def _initialise(place: Place, binaries: Binaries, deadline: Deadline) -> None:
    """Makes the cluster and its database under another name: `data` exists only when it is whole."""
    if place.data.exists() and any(place.data.iterdir()):
        raise Refused(f"{place.data} is not empty and holds no PostgreSQL data. Move it away, then try again.")
    unfinished = place.base / f"{UNFINISHED}{os.urandom(4).hex()}"
    make_folder(unfinished, place.account.uid, 0o700)
    try:
        run(
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
        answer = run(
            place,
            [str(binaries.folder / "postgres"), "--single", "-D", str(unfinished), "postgres"],
            f"CREATE DATABASE {DATABASE};\nSELECT datname FROM pg_database;\n",
            deadline,
        )
        if f'"{DATABASE}"' not in answer:
            raise Unavailable(f"The database {DATABASE} could not be made: {last_lines(answer)}")
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


def _write_settings(place: Place) -> None:
    """Writes what the server reads at its start, with what the user put into `<home>/postgresql.conf`."""
    client = pwd.getpwuid(os.geteuid()).pw_name
    additions = place.home / "postgresql.conf"
    own = additions.read_text() if additions.is_file() else ""
    fixed = _FIXED_SETTINGS.format(
        port=PORT,
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
