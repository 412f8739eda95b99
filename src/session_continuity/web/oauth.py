"""Tokens of an OAuth issuer: JSON Web Tokens (RFC 9068) for this server, and the metadata that names the issuer.

Only what the settings of the data folder name is believed: a token's own header never says where its key is. A
token admits by its claims `scope` (or `scp`) and, when it has one, `projects`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import SplitResult, urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from session_continuity.domain.errors import InvalidInput
from session_continuity.settings import Settings
from session_continuity.web.refusals import RefusedRequest
from session_continuity.web.tokens import ADMIN, LIMITED_SCOPES, READ, SCOPES, WRITE, Token, with_included

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Signatures with a public key alone: with HS256 whoever knows that key could sign, with none anyone."""

FRESH_SECONDS = 300.0
"""After this keys are fetched again, so that one that the issuer took back is forgotten."""

KEPT_SECONDS = 3_600.0
"""For as long known keys are believed while the issuer can't be reached."""

RETRY_SECONDS = 10.0
"""Between two fetches: tokens that name unknown keys must not make us ask the issuer again and again."""

FETCH_SECONDS = 5.0
CLOCK_SECONDS = 30
"""How far the issuer's clock may be from ours."""

WELL_KNOWN = "/.well-known/oauth-protected-resource"

_CLAIMS = ("exp", "iss", "aud", "sub")
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """A public key and the algorithms that it may have signed with."""

    key: PyJWK
    algorithms: tuple[str, ...]


class SigningKeys:
    """The issuer's public keys by their id, fetched when they are needed, for all requests together."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._keys: Mapping[str, _Known] = {}
        self._fetched_at = self._tried_at = -KEPT_SECONDS
        self._fetch: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> _Known | None:
        """The key with that id. Raises RefusedRequest (503) while no key of the last hour is known."""
        now = self._clock()
        if key_id not in self._keys or now - self._fetched_at > FRESH_SECONDS:
            if self._fetch is None and now - self._tried_at >= RETRY_SECONDS:
                self._tried_at = now
                self._fetch = asyncio.create_task(self._fetch_keys())
            if self._fetch is not None:
                await asyncio.shield(self._fetch)
        if self._clock() - self._fetched_at > KEPT_SECONDS:
            raise RefusedRequest(
                503,
                "issuer_unreachable",
                "the keys of the OAuth issuer can't be fetched; the log of the server says why",
                retry_after=str(int(RETRY_SECONDS)),
            )
        return self._keys.get(key_id)

    async def _fetch_keys(self) -> None:
        from jwt import PyJWKClient, PyJWTError

        client = PyJWKClient(self._url, cache_jwk_set=False, timeout=FETCH_SECONDS)
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                document: dict[str, Any] = await asyncio.to_thread(client.fetch_data)
            self._keys = _public_keys(document)
            self._fetched_at = self._clock()
        except (PyJWTError, OSError, ValueError) as error:
            _log.error("issuer_unreachable", jwks=self._url, reason=str(error) or type(error).__name__)
        finally:
            self._fetch = None


def _public_keys(document: Mapping[str, Any]) -> dict[str, _Known]:
    from jwt import PyJWK, PyJWTError

    found: dict[str, _Known] = {}
    entries: object = document.get("keys")
    for entry in cast("list[Any]", entries) if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        given = cast("dict[str, Any]", entry)
        key_id, algorithm = given.get("kid"), given.get("alg")
        if not isinstance(key_id, str) or given.get("kty") == "oct" or given.get("use", "sig") != "sig":
            continue
        try:
            key = PyJWK.from_dict(given)
        except PyJWTError:
            continue  # of a kind that is not known here
        allowed = tuple(each for each in ALGORITHMS if algorithm in (None, each))
        found[key_id] = _Known(key, allowed)
    return found


class OAuthIssuer:
    """The issuer of the settings. `audience` is the URL under which clients ask for /mcp, and what a token must be
    for."""

    def __init__(self, issuer: str, audience: str, keys: SigningKeys) -> None:
        self.issuer, self.audience, self._keys = issuer, audience, keys
        where = urlsplit(audience)
        self.metadata_path = WELL_KNOWN + where.path.rstrip("/")
        self.metadata_url = f"{where.scheme}://{where.netloc}{self.metadata_path}"

    async def token(self, text: str) -> Token | None:
        """What a token of this issuer admits to, or None for one that is not valid. Raises RefusedRequest (503)
        while the issuer's keys can't be had."""
        import jwt

        try:
            key_id: object = jwt.get_unverified_header(text).get("kid")
            known = await self._keys.find(key_id) if isinstance(key_id, str) else None
            if known is None or not known.algorithms:
                return None
            claims = jwt.decode(
                text,
                known.key.key,
                algorithms=known.algorithms,
                issuer=self.issuer,
                audience=self.audience,
                leeway=CLOCK_SECONDS,
                options={"require": list(_CLAIMS)},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        return _token(claims)

    def route(self) -> Route:
        """GET of the protected resource metadata (RFC 9728)."""
        document = {
            "resource": self.audience,
            "resource_name": "session-continuity",
            "authorization_servers": [self.issuer],
            "scopes_supported": [READ, WRITE, ADMIN],
            "bearer_methods_supported": ["header"],
        }

        async def metadata(request: Request) -> JSONResponse:  # noqa: ARG001
            return JSONResponse(document)

        return Route(self.metadata_path, metadata, methods=["GET"])


def _token(claims: Mapping[str, Any]) -> Token | None:
    given: object = claims.get("scope", claims.get("scp", ""))
    words = given.split() if isinstance(given, str) else _texts(given)
    projects = None if claims.get("projects") is None else _texts(claims["projects"])
    if words is None or ("projects" in claims and projects is None):
        return None
    scopes = set(words) & (SCOPES.keys() if projects is None else LIMITED_SCOPES)
    return Token(
        id=f"oauth {claims['sub']}",
        scopes=with_included(scopes),
        projects=None if projects is None else frozenset(projects),
    )


def _texts(value: object) -> list[str] | None:
    if not isinstance(value, list):
        return None
    texts = [each for each in cast("list[object]", value) if isinstance(each, str)]
    return texts if len(texts) == len(cast("list[object]", value)) else None


def oauth_issuer(settings: Settings) -> OAuthIssuer | None:
    """The issuer that the settings name, or None. Raises InvalidInput when they name it in part, or by URLs that
    can be read or changed on the way."""
    named = {
        "oauth_issuer": settings.oauth_issuer,
        "oauth_audience": settings.oauth_audience,
        "oauth_jwks": settings.oauth_jwks,
    }
    if not any(named.values()):
        return None
    for name, url in named.items():
        if not url:
            raise InvalidInput(f"{name} is missing: an OAuth issuer needs {', '.join(named)}", code="settings")
        where = _split(url)
        if where is None or not (where.scheme == "https" or (where.scheme == "http" and _is_loopback(where))):
            raise InvalidInput(
                f"{name} must be an https URL (http only on loopback) without user, query or fragment,"
                f" not {url!r}",
                code="settings",
            )
    issuer, audience, jwks = map(str, named.values())
    return OAuthIssuer(issuer, audience, SigningKeys(jwks))


def _split(url: str) -> SplitResult | None:
    try:
        where = urlsplit(url)
        whole = bool(where.hostname) and where.port != 0
    except ValueError:
        return None
    return where if whole and not (where.username or where.password or where.query or where.fragment) else None


def _is_loopback(where: SplitResult) -> bool:
    try:
        return where.hostname == "localhost" or ipaddress.ip_address(str(where.hostname)).is_loopback
    except ValueError:
        return False
