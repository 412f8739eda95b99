"""Where the embedded server of a home lives, who runs it, and whose the folders and the socket are."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from session_continuity.domain.errors import Refused
from session_continuity.postgres.binaries import is_reachable

PORT = 5432
SOCKET_FILE = f".s.PGSQL.{PORT}"
UNFINISHED = "data.unfinished-"
_LONGEST_SOCKET_PATH = 103
_UNPRIVILEGED_USERS = ("postgres", "nobody")
_FOLDERS_FOR_ROOT = Path("/var/lib/session-continuity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The operating system's user that runs the server."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, entry: pwd.struct_passwd) -> Account:
        return cls(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the server of one home lives, and who runs it; `passages` are the caller's own folders above."""

    home: Path
    base: Path
    passages: tuple[Path, ...]
    sockets: Path
    account: Account

    @property
    def data(self) -> Path:
        return self.base / "data"

    @property
    def log_file(self) -> Path:
        return self.base / "postgres.log"

    @property
    def socket_file(self) -> Path:
        return self.sockets / SOCKET_FILE


def locate(home: Path) -> Place:
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
    if len(os.fsencode(sockets / SOCKET_FILE)) > _LONGEST_SOCKET_PATH or "," in str(sockets):
        passages = (base, *spare)
        sockets = spare[-1] / f"socket-{_short_hash(home)}"
    return Place(home=home, base=base, passages=passages, sockets=sockets, account=account)


def _locate_for_root(home: Path) -> tuple[Account, Path]:
    accounts: list[Account] = []
    for name in _UNPRIVILEGED_USERS:
        with suppress(KeyError):
            accounts.append(Account.of(pwd.getpwnam(name)))
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


def _own_account() -> Account:
    try:
        return Account.of(pwd.getpwuid(os.geteuid()))
    except KeyError:
        raise Refused(
            f"User id {os.geteuid()} has no entry in the password file, and PostgreSQL does not run without. "
            "Add one, or set CONTINUITY_DSN to a running server."
        ) from None


def _short_hash(home: Path) -> str:
    return hashlib.blake2b(os.fsencode(home), digest_size=6).hexdigest()


def refuse_foreign_folders(place: Place) -> None:
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
        raise Refused(f"{folder} is not a folder of its own (a link or a file). Remove it or use another home.")
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


def prepare_folders(place: Place) -> None:
    """Makes the folders around the data, puts their modes right and removes unfinished clusters."""
    # The server's user must get through the folders that hold its own.
    passage = 0o711 if os.geteuid() == 0 else 0o700
    for folder in place.passages:
        make_folder(folder, os.geteuid(), passage)
    make_folder(place.sockets, place.account.uid, 0o700)
    if place.data.exists():
        make_folder(place.data, place.account.uid, 0o700)
    for leftover in place.base.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def make_folder(folder: Path, uid: int, mode: int) -> None:
    """Makes one folder of ours, or corrects it. Raises Refused for a link or another user's folder."""
    with suppress(FileExistsError):
        folder.mkdir(mode=mode)
    entry = folder.lstat()
    _refuse_foreign(folder, entry, {uid, os.geteuid()})
    if entry.st_uid != uid:
        os.chown(folder, uid, -1, follow_symlinks=False)
    if stat.S_IMODE(entry.st_mode) != mode:
        folder.chmod(mode)


def socket_is_ours(place: Place) -> bool:
    """Whether the socket is there, in a private folder, and belongs to the user that runs the server."""
    try:
        folder, file = place.sockets.lstat(), place.socket_file.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(folder.st_mode) and stat.S_IMODE(folder.st_mode) == 0o700
    owned = {folder.st_uid, file.st_uid} == {place.account.uid}
    return private and owned and stat.S_ISSOCK(file.st_mode)


def answers(place: Place) -> bool:
    """Whether a server we can't see in the process table listens in our folder."""
    if not socket_is_ours(place):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(place.socket_file)) == 0
