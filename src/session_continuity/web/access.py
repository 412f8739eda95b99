"""Who may ask: the rules that every request passes before its route.

Programs send a token and people a cookie: each is taken on its own paths alone, so that a page of another site can
use no cookie where a token is due.

A web page can reach a loopback server by a name of its own that it lets point there, and its GET then bears no
Origin (reliability research, W1). So the Host header is checked on every route, and Origin wherever there is one.
"""

from __future__ import annotations

import asyncio
import math
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_continuity.domain.errors import InvalidInput
from session_continuity.web.oauth import OAuthIssuer
from session_continuity.web.rate_limit import RateLimit
from session_continuity.web.refusals import RefusedRequest, bearer_challenge
from session_continuity.web.sign_in import SignIns, Viewer, cookie_of
from session_continuity.web.tokens import PREFIX, Token, TokenFile

BODY_LIMIT = 16 * 2**20
BODY_SECONDS = 30.0
"""For a whole request body to arrive."""

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What answers without a token, beside the metadata of OAuth."""

PROGRAM_PATHS = frozenset({"/capture", "/mcp", "/metrics"})
"""What answers to a token and never to a cookie."""

USED_SECONDS = 60.0
"""Between two notes of a token's use."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9][a-z0-9.-]*)(?::([0-9]{1,5}))?")
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """port: where the server listens; by a loopback name it is asked under that port only. hosts: further names
    under which it may be asked, `name` (any port) or `name:port`. tokens: whom it answers.
    requests_per_second: how often each of them may ask. oauth: whose tokens are taken, too. sign_ins: who may see
    the pages; None: there are none."""

    port: int
    hosts: frozenset[str]
    tokens: TokenFile
    requests_per_second: int = 100
    oauth: OAuthIssuer | None = None
    sign_ins: SignIns | None = None

    @property
    def resource_metadata(self) -> str | None:
        """Where a client reads whom to ask for a token."""
        return None if self.oauth is None else self.oauth.metadata_url

    def is_open(self, path: str) -> bool:
        """Whether that path answers without a token."""
        return path in OPEN_PATHS or (self.oauth is not None and path == self.oauth.metadata_path)

    def is_page(self, path: str) -> bool:
        """Whether that path answers to a cookie, if at all; its route decides whom."""
        return self.sign_ins is not None and path not in PROGRAM_PATHS

    def admits(self, authority: str) -> bool:
        """Whether the server may be asked under that Host."""
        found = _AUTHORITY.fullmatch(authority.lower())
        if found is None:
            return False
        name, port = found[1], found[2]
        if name in _LOOPBACK_NAMES and int(port or 80) == self.port:
            return True
        return name in self.hosts or f"{name}:{port}" in self.hosts


def checked_hosts(hosts: Iterable[str]) -> frozenset[str]:
    """Names for `Access.hosts`. Raises ValueError naming one that is none."""
    found = frozenset(host.lower() for host in hosts)
    for host in sorted(found):
        if not _AUTHORITY.fullmatch(host):
            raise ValueError(f"{host!r} is not a host name; write name or name:port")
    return found


class AccessRules:
    """Middleware: Host, Origin, token and the limits of the body. The route finds the token in `request.state`."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._rate = RateLimit(access.requests_per_second)
        self._used: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        began = False
        structlog.contextvars.bind_contextvars(request=secrets.token_hex(6))

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._check(scope, Headers(scope=scope))
            await self._app(scope, _bounded(receive), watched)
        except RefusedRequest as refusal:
            if began:
                raise
            await refusal.response()(scope, receive, send)

    async def _check(self, scope: Scope, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.admits(hosts[0]):
            raise RefusedRequest(
                421, "host_not_allowed", "this server does not answer under that Host; allow it with --allow-host"
            )
        for origin in headers.getlist("origin"):
            scheme, _, authority = origin.partition("://")
            if scheme not in ("http", "https") or not self._access.admits(authority):
                raise RefusedRequest(403, "origin_not_allowed", "pages of that origin may not ask this server")
        if self._access.is_open(scope["path"]):
            pass
        elif self._access.is_page(scope["path"]) and "authorization" not in headers:
            viewer = self._viewer(headers)
            scope.setdefault("state", {}).update(viewer=viewer)
            if viewer is not None:
                self._limit(viewer.id)
        else:
            token = await self._token(headers)
            scope.setdefault("state", {}).update(token=token, resource_metadata=self._access.resource_metadata)
            self._limit(token.id)
        length = headers.get("content-length")
        if length is not None and int(length) > BODY_LIMIT:
            raise _too_large()

    def _limit(self, caller: str) -> None:
        if (seconds := self._rate.wait(caller)) > 0:
            raise RefusedRequest(
                429,
                "too_many_requests",
                f"each caller may ask {self._access.requests_per_second} times a second",
                retry_after=str(math.ceil(seconds)),
            )

    def _viewer(self, headers: Headers) -> Viewer | None:
        assert self._access.sign_ins is not None  # noqa: S101
        return self._access.sign_ins.find(cookie_of(headers.get("cookie", "")))

    async def _token(self, headers: Headers) -> Token:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        text = text.strip() if scheme.lower() == "bearer" else ""
        if text and self._access.oauth is not None and not text.startswith(PREFIX):
            token = await self._access.oauth.token(text)
        else:
            token = self._own(text)
        if token is None:
            parts = {"error": "invalid_token"} if text else {}
            raise RefusedRequest(
                401,
                "no_valid_token",
                "send `Authorization: Bearer TOKEN`; `continuity tokens create` makes one",
                www_authenticate=bearer_challenge(self._access.resource_metadata, **parts),
            )
        return token

    def _own(self, text: str) -> Token | None:
        try:
            token = self._access.tokens.find(text) if text else None
        except InvalidInput as error:
            _log.error("tokens_unreadable", reason=error.message)
            raise RefusedRequest(503, "tokens_unreadable", "the log of the server says why") from None
        if token is not None:
            self._note_use(token)
        return token

    def _note_use(self, token: Token) -> None:
        now = time.monotonic()
        if now - self._used.get(token.id, -math.inf) < USED_SECONDS:
            return
        self._used[token.id] = now
        try:
            self._access.tokens.mark_used(token.id)
        except OSError as error:
            _log.warning("use_not_noted", token=token.id, reason=error.strerror)


def require_scope(request: Request, scope: str) -> None:
    """Refuse the request unless its token has that scope."""
    if scope not in request.state.token.scopes:
        raise RefusedRequest(403, "scope_missing", f"the token has no scope {scope}")


def _bounded(receive: Receive) -> Receive:
    """Reads a body up to its limits of size and time; what comes after the body has none."""
    taken, whole = 0, False
    until = asyncio.get_running_loop().time() + BODY_SECONDS

    async def bounded() -> Message:
        nonlocal taken, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise RefusedRequest(408, "body_too_slow", f"the body took longer than {BODY_SECONDS:.0f} s") from None
        taken += len(message.get("body", b""))
        if taken > BODY_LIMIT:
            raise _too_large()
        whole = not message.get("more_body", False)
        return message

    return bounded


def _too_large() -> RefusedRequest:
    return RefusedRequest(413, "body_too_large", f"a body has at most {BODY_LIMIT:,} bytes")
