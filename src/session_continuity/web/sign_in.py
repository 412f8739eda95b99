"""Signing in to the pages: a link that works once, made on this machine, then a cookie.

Both are 256 random bits, kept as hashes: a file for each in `<home>/sign-ins`, named by its hash, that says who it
is and until when. A file, so that whoever is signed in stays so when the server is started again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.payload import check_text
from session_continuity.web.tokens import LIMITED_SCOPES, READ, WRITE, with_included

FOLDER = "sign-ins"
COOKIE = "continuity_sign_in"
LINK_SECONDS = 300
"""How long a link waits for its one use."""

SIGN_IN_SECONDS = 7 * 24 * 3_600

_SALT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks at the pages. `scopes` with those that they include; `projects` None: all. `secret` is what its
    CSRF tokens are made with."""

    person: str
    scopes: frozenset[str]
    projects: frozenset[str] | None
    secret: str

    @property
    def id(self) -> str:
        """What tells two sign-ins apart, in the limits of requests."""
        return hashlib.sha256(self.secret.encode()).hexdigest()[:16]

    def csrf_token(self) -> str:
        """A token for the forms of one page; another one each time, so that a compressed page tells nothing."""
        salt = secrets.token_hex(_SALT)
        return f"{salt}.{self._signed(salt)}"

    def made(self, csrf_token: str) -> bool:
        """Whether a form's token comes from a page of this sign-in."""
        salt, _, signature = csrf_token.partition(".")
        return hmac.compare_digest(signature.encode(), self._signed(salt).encode())

    def _signed(self, salt: str) -> str:
        return hmac.new(self.secret.encode(), salt.encode(), "sha256").hexdigest()


class SignIns:
    """The links and the sign-ins of one home. Every method raises OSError when their folder can't be used."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def create_link(self, person: str, *, scope: str, projects: Iterable[str] = ()) -> str:
        """The code of a new link for that person. Raises InvalidInput for what can't be granted."""
        check_text("person", person, 100)
        limits = sorted(set(projects))
        if limits and scope not in LIMITED_SCOPES:
            allowed = f"{READ} or {WRITE}"
            raise InvalidInput(f"who sees some projects alone can have the scope {allowed}", code="sign_in_scope")
        for project in limits:
            check_text("project", project, 200)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        grant = {"person": person, "scope": scope, "projects": limits or None}
        return self._keep("link", grant, LINK_SECONDS)

    def redeem(self, code: str) -> str | None:
        """The text of a new sign-in for the code of a link, or None: there is no such link, or it was used."""
        file = self._file("link", code)
        claimed = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        try:
            file.rename(claimed)  # of several that come at once one succeeds
        except OSError:
            return None
        grant = _read(claimed)
        claimed.unlink(missing_ok=True)
        return None if grant is None else self._keep("person", grant, SIGN_IN_SECONDS)

    def find(self, text: str) -> Viewer | None:
        """Who is signed in with that text."""
        grant = _read(self._file("person", text)) if text else None
        if grant is None:
            return None
        projects = grant.get("projects")
        return Viewer(
            person=str(grant["person"]),
            scopes=with_included([str(grant["scope"])]),
            projects=None if projects is None else frozenset(map(str, projects)),
            secret=text,
        )

    def end(self, viewer: Viewer) -> None:
        """Sign out."""
        self._file("person", viewer.secret).unlink(missing_ok=True)

    def _keep(self, kind: str, grant: dict[str, Any], seconds: float) -> str:
        text = secrets.token_urlsafe(32)
        until = time.time() + seconds
        content = json.dumps({**{name: grant[name] for name in ("person", "scope", "projects")}, "until": until})
        file = self._file(kind, text)
        unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as opened:
            opened.write(content)
        unfinished.replace(file)
        return text

    def _file(self, kind: str, text: str) -> Path:
        return self._folder / f"{kind}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def _sweep(self) -> None:
        for file in self._folder.iterdir():
            if _read(file) is None:
                file.unlink(missing_ok=True)


def cookie_of(header: str) -> str:
    """The text of the sign-in in a Cookie header, or nothing."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _read(file: Path) -> dict[str, Any] | None:
    try:
        grant = json.loads(file.read_bytes())
        if {"person", "scope", "projects", "until"} <= grant.keys() and time.time() < grant["until"]:
            return grant
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    return None
