"""Bearer tokens: made once, shown once, kept as hashes in `<home>/tokens.json`."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from session_continuity.domain.errors import InvalidInput

FILE_NAME = "tokens.json"
CAPTURE = "capture"
"""The scope that admits to `POST /capture` and to nothing else."""

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a token admits to."""

    id: str
    scopes: frozenset[str]


class TokenFile:
    """The tokens of one home: a JSON object with `version` and `tokens`.

    Each token has `id`, `hash` (SHA-256 of its 256 random bits: nothing to guess, so no slow hash), `scopes`,
    `projects` (null: all), `created_at` and `expires_at` (null: never). An entry with a restriction that this
    release does not know admits to nothing.
    """

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME

    def make(self, scope: str) -> str:
        """Make the token of a scope, in place of the one before, and return its text: it is kept nowhere.

        Raises InvalidInput when the file can't be read or is open to others.
        """
        text = f"continuity_{secrets.token_urlsafe(32)}"
        entry = {
            "id": secrets.token_hex(4),
            "hash": _hash(text),
            "scopes": [scope],
            "projects": None,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "expires_at": None,
        }
        others = [each for each in self._entries() if each.get("scopes") != [scope]]
        self._write({"version": _VERSION, "tokens": [*others, entry]})
        return text

    def exist(self) -> bool:
        """Whether there is any token. Raises InvalidInput as `make`."""
        return bool(self._entries())

    def find(self, text: str) -> Token | None:
        """The token with that text, or None; all are compared, each in constant time. Raises as `make`."""
        given, found = _hash(text), None
        for entry in self._entries():
            if hmac.compare_digest(str(entry.get("hash")).encode(), given.encode()) and _is_valid(entry):
                found = Token(id=str(entry["id"]), scopes=frozenset(map(str, entry["scopes"])))
        return found

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
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = self._file.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(self._file)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_valid(entry: dict[str, Any]) -> bool:
    known = {"id", "hash", "scopes", "projects", "created_at", "expires_at"}
    if not entry.keys() <= known or not {"id", "scopes"} <= entry.keys() or entry.get("projects") is not None:
        return False
    if not isinstance(entry["scopes"], list):
        return False
    expires_at = entry.get("expires_at")
    if expires_at is None:
        return True
    try:
        return datetime.now(UTC) < datetime.fromisoformat(str(expires_at))
    except (ValueError, TypeError):
        return False
