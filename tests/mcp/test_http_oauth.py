"""Tokens of an OAuth issuer: a real one on loopback, with keys made here; and what must not be taken for one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from mcp.shared.auth import ProtectedResourceMetadata

from session_continuity import InvalidInput
from session_continuity.settings import load_settings
from session_continuity.web import oauth
from session_continuity.web.oauth import OAuthIssuer, SigningKeys, oauth_issuer

from .conftest import LEGACY, MODERN
from .served import Served, message, serving

ISSUER, AUDIENCE = "https://issuer.example/", "https://build.example/mcp"
METADATA = "/.well-known/oauth-protected-resource/mcp"
FIRST, SECOND = (rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(2))
CURVE, EDWARDS = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
LISTING = message("tools/list")


def public(key: Any, key_id: str, **more: Any) -> dict[str, Any]:
    kind = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    algorithm = next((made for family, made in kind.items() if isinstance(key, family)), OKPAlgorithm)
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": key_id, **more}


@dataclass
class Issuer:
    """Serves its public keys, counts who asks for them, and signs."""

    keys: list[dict[str, Any]]
    url: str = ""
    fetched: int = 0
    status: int = 200
    hangs: threading.Event = field(default_factory=threading.Event)

    def sign(
        self,
        key: Any = FIRST,
        *,
        key_id: str = "first",
        algorithm: str = "RS256",
        header: Any = None,
        **claims: Any,
    ) -> str:
        now = int(time.time())
        good = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "anna",
            "iat": now,
            "exp": now + 600,
            "scope": "openid write",
        }
        kept = {name: value for name, value in {**good, **claims}.items() if value is not None}
        return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": key_id, **(header or {})})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer([public(FIRST, "first")])
    made.hangs.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.fetched += 1
            made.hangs.wait(30)
            content = json.dumps({"keys": made.keys}).encode()
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_port}/keys"
        yield made
        made.hangs.set()
        server.shutdown()


class Clock:
    """Shows the time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served(tmp_path: Path, database: str, issuer: Issuer, clock: Clock) -> Iterator[Served]:
    accepted = OAuthIssuer(ISSUER, AUDIENCE, SigningKeys(issuer.url, clock=clock))
    with serving(tmp_path / "home", database, oauth=accepted) as running:
        yield running


def status(served: Served, token: str) -> int:
    with served.http(token) as http:
        return http.post("/mcp", json=LISTING).status_code


@pytest.mark.anyio
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_the_official_client_works_with_a_token_of_the_issuer(
    served: Served, issuer: Issuer, era: str
) -> None:
    async with served.agent(issuer.sign(), era) as agent:
        session = await agent.call("register_session", project="demo")
        assert (await agent.call("get_session", session="demo"))["instance_id"] == session["instance_id"]
    async with served.agent(issuer.sign(scope="read"), era) as agent:
        assert (await agent.refused("register_session", project="demo")).startswith("scope_missing")
    async with served.agent(issuer.sign(scope=None, scp=["write"], projects=["shop"]), era) as agent:
        assert (await agent.refused("get_session", session=session["instance_id"])).startswith("not_found")
        assert (await agent.call("list_sessions"))["sessions"] == []
    assert issuer.fetched == 1


def test_each_kind_of_public_key_is_known(served: Served, issuer: Issuer) -> None:
    issuer.keys += [
        public(CURVE, "curve"),
        public(EDWARDS, "edwards", alg="EdDSA"),
        {"kty": "unheard-of", "kid": "new"},
        "none of ours",  # type: ignore[list-item]
        {"kty": "RSA", "kid": "broken"},
    ]
    for key, key_id, algorithm in (
        (FIRST, "first", "RS256"),
        (FIRST, "first", "RS512"),
        (FIRST, "first", "PS256"),
        (CURVE, "curve", "ES256"),
        (EDWARDS, "edwards", "EdDSA"),
    ):
        assert status(served, issuer.sign(key, key_id=key_id, algorithm=algorithm)) == 200, algorithm


def unsigned(algorithm: str, secret: bytes | None, claims: dict[str, Any]) -> str:
    """A token that no library would make: with a signature by a secret, or with none."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    head = json.dumps({"alg": algorithm, "typ": "JWT", "kid": "first"}).encode()
    body = f"{part(head)}.{part(json.dumps(claims).encode())}"
    return f"{body}.{'' if secret is None else part(hmac.digest(secret, body.encode(), hashlib.sha256))}"


def test_what_is_not_a_token_of_the_issuer_for_us_is_refused(served: Served, issuer: Issuer) -> None:
    issuer.keys += [
        {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")},
        public(SECOND, "for encryption", use="enc"),
        public(SECOND, "of one algorithm", alg="RS256"),
        public(SECOND, "of a secret", alg="HS256"),
    ]
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": now + 600, "scope": "write"}
    pem = FIRST.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    good = issuer.sign()
    assert status(served, good) == 200
    bad = {
        "another key": issuer.sign(SECOND),
        "an unknown key": issuer.sign(SECOND, key_id="second"),
        "no key": jwt.encode(claims, FIRST, algorithm="RS256"),
        "no signature": unsigned("none", None, claims),
        "none in another spelling": unsigned("nOnE", None, claims),
        "signed with the public key": unsigned("HS256", pem, claims),
        "signed with a public secret": issuer.sign(b"s" * 32, key_id="shared", algorithm="HS256"),
        "a key for encryption": issuer.sign(SECOND, key_id="for encryption"),
        "another algorithm than the key's": issuer.sign(SECOND, key_id="of one algorithm", algorithm="PS256"),
        "a key whose algorithm is not allowed": issuer.sign(SECOND, key_id="of a secret"),
        "a key of its own": issuer.sign(SECOND, header={"jwk": public(SECOND, "first")}),
        "a place of its own": issuer.sign(SECOND, header={"jku": issuer.url}),
        "another issuer": issuer.sign(iss="https://issuer.example"),
        "no issuer": issuer.sign(iss=None),
        "for another server": issuer.sign(aud="https://other.example/mcp"),
        "for all servers of the name": issuer.sign(aud="https://build.example"),
        "for nobody": issuer.sign(aud=None),
        "expired": issuer.sign(exp=now - oauth.CLOCK_SECONDS - 5),
        "without an end": issuer.sign(exp=None),
        "not valid yet": issuer.sign(nbf=now + 600),
        "of nobody": issuer.sign(sub=None),
        "a scope that is none": issuer.sign(scope={"write": True}),
        "projects that are none": issuer.sign(projects="shop"),
        "changed": good[:-5] + ("AAAAA" if not good.endswith("AAAAA") else "BBBBB"),
        "cut": good[:40],
        "no token": "x.y.z",
    }
    for why, token in bad.items():
        with served.http(token) as http:
            answer = http.post("/mcp", json=LISTING)
        assert (answer.status_code, answer.json()["error"]) == (401, "no_valid_token"), why
        assert 'error="invalid_token"' in answer.headers["www-authenticate"], why
    assert status(served, issuer.sign(aud=["https://other.example/mcp", AUDIENCE])) == 200


def test_without_the_checks_a_token_for_another_server_is_taken(
    served: Served, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what refuses them are the named checks, and not that the tokens are no tokens."""
    decode = jwt.decode

    def unchecked(text: str, key: Any, **options: Any) -> Any:
        if changed == "audience":
            options["options"] = {**options["options"], "verify_aud": False}
        elif changed == "issuer":
            del options["issuer"]
        else:
            options["options"] = {**options["options"], "verify_exp": False}
        return decode(text, key, **options)

    monkeypatch.setattr(jwt, "decode", unchecked)
    for changed, token in (
        ("audience", issuer.sign(aud="https://other.example/mcp")),
        ("issuer", issuer.sign(iss="https://evil.example/")),
        ("expiry", issuer.sign(exp=1)),
    ):
        assert status(served, token) == 200, changed


def test_a_token_without_a_scope_of_ours_is_refused_as_the_specification_says(
    served: Served, issuer: Issuer
) -> None:
    for scopes, projects in (("openid profile", None), ("", None), ("capture", ["shop"])):
        with served.http(issuer.sign(scope=scopes, projects=projects)) as http:
            answer = http.post("/mcp", json=LISTING)
        assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
        told = answer.headers["www-authenticate"]
        assert 'error="insufficient_scope", scope="read"' in told
        assert f'resource_metadata="https://build.example{METADATA}"' in told


def test_clients_find_the_issuer_by_the_metadata(served: Served) -> None:
    with served.http() as http:
        refused = http.post("/mcp", json=LISTING)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == f'Bearer resource_metadata="https://build.example{METADATA}"'
        answer = http.get(METADATA)
        assert answer.status_code == 200
        document = ProtectedResourceMetadata.model_validate_json(answer.text)
        assert (str(document.resource), [str(each) for each in document.authorization_servers]) == (
            AUDIENCE,
            [ISSUER],
        )
        assert http.get(METADATA, headers={"Host": "evil.test"}).status_code == 421
        assert http.get(METADATA, headers={"Origin": "http://evil.test"}).status_code == 403
        assert http.get("/.well-known/oauth-protected-resource/other").status_code == 401


def test_a_token_of_ours_works_beside_the_issuer(served: Served, issuer: Issuer) -> None:
    assert status(served, served.token("read")) == 200
    assert issuer.fetched == 0


def test_new_keys_are_fetched_and_old_ones_forgotten(served: Served, issuer: Issuer, clock: Clock) -> None:
    assert status(served, issuer.sign()) == 200
    issuer.keys = [public(SECOND, "second")]
    for _ in range(20):
        assert status(served, issuer.sign(SECOND, key_id="second")) == 401
    assert issuer.fetched == 1, "an unknown key makes us ask again and again"
    clock.now += oauth.RETRY_SECONDS
    assert status(served, issuer.sign(SECOND, key_id="second")) == 200
    assert status(served, issuer.sign()) == 401
    issuer.keys = []
    clock.now += oauth.FRESH_SECONDS + 1
    assert status(served, issuer.sign(SECOND, key_id="second")) == 401


def test_an_issuer_that_is_away_is_not_waited_for_again_and_again(
    served: Served, issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "FETCH_SECONDS", 0.2)
    issuer.hangs.clear()
    for _ in range(5):
        with served.http(issuer.sign()) as http:
            answer = http.post("/mcp", json=LISTING)
        assert (answer.status_code, answer.json()["error"]) == (503, "issuer_unreachable")
        assert answer.headers["retry-after"]
    assert issuer.fetched == 1
    assert status(served, served.token("read")) == 200
    issuer.hangs.set()
    clock.now += oauth.RETRY_SECONDS
    assert status(served, issuer.sign()) == 200
    issuer.status = 500
    clock.now += oauth.FRESH_SECONDS + 1
    assert status(served, issuer.sign()) == 200, "known keys are believed for an hour"
    clock.now += oauth.KEPT_SECONDS
    assert status(served, issuer.sign()) == 503


@pytest.mark.parametrize(
    "change",
    [
        {"oauth_issuer": None},
        {"oauth_audience": None},
        {"oauth_jwks": None},
        {"oauth_jwks": "http://issuer.example/keys"},
        {"oauth_jwks": "file:///etc/passwd"},
        {"oauth_jwks": "http://127.0.0.1.evil.test/keys"},
        {"oauth_issuer": "http://issuer.example/"},
        {"oauth_issuer": "issuer"},
        {"oauth_audience": "https://build.example/mcp#x"},
        {"oauth_audience": "https://anna:secret@build.example/mcp"},
        {"oauth_audience": "https://[/mcp"},
    ],
    ids=str,
)
def test_an_issuer_that_is_named_in_part_or_not_safely_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    good = {"oauth_issuer": ISSUER, "oauth_audience": AUDIENCE, "oauth_jwks": "https://issuer.example/keys"}
    assert oauth_issuer(load_settings(home=tmp_path)) is None
    for jwks in ("https://issuer.example/keys", "http://localhost:1/keys", "http://[::1]/keys"):
        assert oauth_issuer(load_settings(home=tmp_path, **good | {"oauth_jwks": jwks})) is not None
    with pytest.raises(InvalidInput, match=next(iter(change))):
        oauth_issuer(load_settings(home=tmp_path, **good | change))


def test_the_environment_names_no_issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OAUTH_ISSUER", "OAUTH_AUDIENCE", "OAUTH_JWKS"):
        monkeypatch.setenv(f"CONTINUITY_{name}", "https://evil.test/")
    assert oauth_issuer(load_settings(home=tmp_path)) is None
