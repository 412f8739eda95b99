"""Bearer tokens: created and shown once, kept as hashes in `<home>/tokens.json`."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from session_continuity.domain.errors import InvalidInput, NotFound
from session_continuity.domain.payload import check_text

FILE_NAME = "tokens.json"
USED_FOLDER = "tokens-used"
"""A file for each token that was used, whose time tells when: the server never writes what it trusts."""

PREFIX = "continuity_"
"""Every token of ours begins with it, so that scanners for secrets know one."""

READ, WRITE, ADMIN, CAPTURE = "read", "write", "admin", "capture"
SCOPES = {
    READ: "the tools and resources of MCP that change nothing",
    WRITE: "all tools of MCP",
    ADMIN: "as write, and what operators do",
    CAPTURE: "POST /capture and nothing else",
}
"""Each scope and what it admits to."""

_INCLUDED = {WRITE: {READ}, ADMIN: {WRITE, READ}}
LIMITED_SCOPES = {READ, WRITE}
"""What a token limited to projects may have: a capture names its project only when it is drained."""

_VERSION = 1
_KNOWN = {"id", "name", "hash", "scopes", "projects", "created_at", "expires_at"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a token admits to: `scopes` with those that they include; `projects` None: all."""

    id: str
    scopes: frozenset[str]
    projects: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownToken:
    """A token as the list shows it. `last_used_at` is right to a minute."""

    id: str
    name: str | None
    scopes: tuple[str, ...]
    projects: tuple[str, ...] | None
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    valid: bool


def with_included(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes and those that they include."""
    given = set(scopes)
    return frozenset(given.union(*(_INCLUDED.get(scope, set()) for scope in given)))


class TokenFile:
    """The tokens of one home: a JSON object with `version` and `tokens`.

    Each token has `id`, `name` (null: none), `hash` (SHA-256 of its 256 random bits: nothing to guess, so no slow
    hash), `scopes`, `projects` (null: all), `created_at`, `expires_at` (null: never). An entry with a
    restriction that this release does not know admits to nothing. Every method raises InvalidInput when the file
    can't be read or is open to others.
    """

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME
        self._used = home / USED_FOLDER

    def create(
        self,
        scopes: Iterable[str],
        *,
        name: str | None = None,
        projects: Iterable[str] = (),
        lifetime: timedelta | None = None,
    ) -> tuple[str, KnownToken]:
        """A new token: its text, which is kept nowhere, and its entry. Without projects it admits to all of them.
        Raises InvalidInput for what can't be granted."""
        wanted, limits = sorted(set(scopes)), sorted(set(projects))
        _check_grant(wanted, limits)
        if name is not None:
            check_text("name", name, 100)
        text, now = f"{PREFIX}{secrets.token_urlsafe(32)}", datetime.now(UTC)
        try:
            expires_at = None if lifetime is None else now + lifetime
        except OverflowError:
            raise InvalidInput("the token would outlive the calendar", code="token_lifetime") from None
        entry: dict[str, Any] = {
            "id": secrets.token_hex(4),
            "name": name,
            "hash": _hash(text),
            "scopes": wanted,
            "projects": limits or None,
            "created_at": now.isoformat(timespec="seconds"),
            "expires_at": expires_at and expires_at.isoformat(timespec="seconds"),
        }
        with self._changing() as entries:
            if name is not None and any(name in (each.get("name"), each.get("id")) for each in entries):
                raise InvalidInput(f"there is a token {name!r} already; revoke it first", code="token_name_taken")
            entries.append(entry)
        return text, self._known(entry)

    def revoke(self, name: str) -> KnownToken:
        """Take away the token with that id or name. Raises NotFound."""
        with self._changing() as entries:
            for entry in entries:
                if name in (entry.get("id"), entry.get("name")):
                    entries.remove(entry)
                    gone = self._known(entry)
                    self._use_of(gone.id).unlink(missing_ok=True)
                    return gone
        raise NotFound(f"no token {name!r}; `continuity tokens list` shows what is there", name=name)

    def known(self) -> list[KnownToken]:
        """All tokens, the oldest first."""
        return [self._known(entry) for entry in self._entries()]

    def exist(self) -> bool:
        """Whether there is any token."""
        return bool(self._entries())

    def find(self, text: str) -> Token | None:
        """The valid token with that text, or None; all are compared, each in constant time."""
        given, found = _hash(text), None
        for entry in self._entries():
            if hmac.compare_digest(str(entry.get("hash")).encode(), given.encode()) and _is_valid(entry):
                found = Token(
                    id=str(entry["id"]),
                    scopes=with_included(map(str, entry["scopes"])),
                    projects=None if entry.get("projects") is None else frozenset(entry["projects"]),
                )
        return found

    def mark_used(self, token_id: str) -> None:
        """Note that a token was used now. Raises OSError."""
        self._used.mkdir(mode=0o700, exist_ok=True)
        self._use_of(token_id).touch(0o600)

    def _use_of(self, token_id: str) -> Path:
        return self._used / hashlib.sha256(token_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _known(self, entry: dict[str, Any]) -> KnownToken:
        projects, token_id = entry.get("projects"), str(entry.get("id"))
        try:
            used = datetime.fromtimestamp(int(self._use_of(token_id).stat().st_mtime), UTC)
        except OSError:
            used = None
        return KnownToken(
            id=token_id,
            name=entry.get("name") and str(entry["name"]),
            scopes=_texts(entry.get("scopes")),
            projects=None if projects is None else _texts(projects),
            created_at=_moment(entry.get("created_at")),
            expires_at=_moment(entry.get("expires_at")),
            last_used_at=used,
            valid=_is_valid(entry),
        )

    @contextmanager
    def _changing(self) -> Generator[list[dict[str, Any]]]:
        """The entries, written back when they were changed; under a lock, so that two changes at once are both
        kept."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(
            self._file.with_name(f".{FILE_NAME}.lock"),
            os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self._entries()
            before = json.dumps(entries)
            yield entries
            if json.dumps(entries) != before:
                self._write({"version": _VERSION, "tokens": entries})
        finally:
            os.close(lock)

    def _entries(self) -> list[dict[str, Any]]:
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InvalidInput(f"{self._file} can't be read: {error.strerror}", code="tokens") from None
        with open(descriptor, "rb") as file:
            entry = os.fstat(descriptor)
            if entry.st_uid != os.geteuid() or stat.S_IMODE(entry.st_mode) & 0o077:
                raise InvalidInput(f"{self._file} must be yours alone: chmod 600, owner you", code="tokens")
            content = file.read()
        try:
            document = json.loads(content)
            if document["version"] != _VERSION:
                raise InvalidInput(f"{self._file} is of another release: make a new one", code="tokens")
            return [cast("dict[str, Any]", each) for each in document["tokens"] if isinstance(each, dict)]
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"{self._file} can't be understood: {error!r}", code="tokens") from None

    def _write(self, document: dict[str, Any]) -> None:
        unfinished = self._file.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(self._file)


def _check_grant(scopes: list[str], projects: list[str]) -> None:
    if not scopes or not set(scopes) <= SCOPES.keys():
        raise InvalidInput(f"a token needs a scope, one or more of {', '.join(SCOPES)}", code="token_scope")
    for project in projects:
        check_text("project", project, 200)
    if projects and not set(scopes) <= LIMITED_SCOPES:
        raise InvalidInput(
            f"a token limited to projects can have the scopes {', '.join(sorted(LIMITED_SCOPES))} alone: which"
            " project a capture belongs to is known only when it is stored",
            code="token_scope",
        )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_valid(entry: dict[str, Any]) -> bool:
    if not entry.keys() <= _KNOWN or not {"id", "scopes"} <= entry.keys():
        return False
    if not isinstance(entry["scopes"], list):
        return False
    projects = entry.get("projects")
    if projects is not None and not (
        isinstance(projects, list)
        and all(isinstance(each, str) for each in cast("list[Any]", projects))
        and set(_texts(entry.get("scopes"))) <= LIMITED_SCOPES
    ):
        return False
    expires_at = entry.get("expires_at")
    if expires_at is None:
        return True
    moment = _moment(expires_at)
    return moment is not None and datetime.now(UTC) < moment


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, cast("list[Any]", value))) if isinstance(value, list) else ()


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
