"""Secrets are taken out of decoded values: in every place of a value, in the same shape, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.driving import calm

from session_continuity import InvalidInput
from session_continuity.capture.redaction.json_leaves import take_apart
from session_continuity.capture.redaction.redaction import Redactor
from session_continuity.capture.redaction.secret_engine import load_engine
from session_continuity.capture.redaction.secret_names import PLACEHOLDER
from session_continuity.capture.redaction.secret_shapes import Span
from session_continuity.capture.redaction.tag_key import load_tag_key
from session_continuity.settings import load_settings

from .planting import HEX, LETTERS, Planted, Planter

PLANTER = Planter(7)
PLANTED = PLANTER.all()
TOKENS = [one for one in PLANTED if one.is_token]


def new_redactor(home: Path, *, engine: bool = False) -> Redactor:
    redactor = Redactor(load_settings(home=home))
    if not engine:
        redactor.__dict__["engine"] = None
    return redactor


@pytest.fixture(scope="module")
def redactor(tmp_path_factory: pytest.TempPathFactory) -> Redactor:
    """The cheap forms alone."""
    return new_redactor(tmp_path_factory.mktemp("home"))


def holds(value: Any, planted: Planted) -> bool:
    text = json.dumps(value)
    return any(line in text for line in planted.secret.split("\n"))


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.kind)
@pytest.mark.parametrize(
    "place",
    [
        lambda text: {"command": text},
        lambda text: {"a": [{"b": ["x", text]}], "n": 1},
        lambda text: text,
        lambda text: [text, "tail"],
        lambda text: {"note": f"before {base64.b64encode(text.encode()).decode()} after"},
        lambda text: {"twice": base64.b64encode(base64.b64encode(text.encode())).decode()},
    ],
    ids=["value", "nested", "alone", "list", "base64", "base64 twice"],
)
def test_a_secret_is_taken_out_wherever_it_stands(redactor: Redactor, planted: Planted, place: Any) -> None:
    value = place(planted.text)
    redacted = redactor.redact(value)
    assert not holds(redacted, planted)
    if "base64" not in str(value):
        assert PLACEHOLDER.search(json.dumps(redacted))
    assert redactor.redact(redacted) == redacted


def test_a_key_that_says_so_takes_its_value_whole(redactor: Redactor) -> None:
    value = {"password": "open sesame", "apiKey": "plain", "env": [{"name": "DB_PASSWORD", "value": "letters"}]}
    redacted = redactor.redact(value)
    assert "sesame" not in str(redacted)
    assert "plain" not in str(redacted)
    assert "letters" not in str(redacted)
    assert [leaf.name for leaf in take_apart(redacted)[1]] == ["password", "apiKey", "name", "value"]


def test_what_only_sounds_like_a_secret_stays(redactor: Redactor) -> None:
    value = {
        "token_count": "12a34b",
        "max_tokens": 4_096,
        "password": 17,
        "password_file": "/run/secrets/db",
        "next_page_token": "abc123def",
        "token": "$TOKEN",
        "secret": "",
        "text": "def f(token: str, password=None): self.token = token; password=os.environ['PW1']",
        "help": "--password TEXT  The password. --token string",
        "docker": "docker run -p 8080:80 -u 1000:1000 shop",
        "git": "commit 3f2a9d0c1b4e5f60718293a4b5c6d7e8f9012345 by key-value store",
        "url": "https://example.com:8080/a?b=c#d",
        "class": "class AccessKey:\n    @property2\n    pass",
    }
    assert redactor.redact(value) is value


def test_a_secret_found_once_is_taken_out_everywhere_and_keeps_one_tag(redactor: Redactor) -> None:
    secret = PLANTER.some(20) + "/+%"
    value = {
        "password": secret,
        secret: 1,
        "said": f"it was {secret}, really",
        "url": f"https://x/?q={secret.replace('/', '%2F').replace('+', '%2B').replace('%25', '%')}",
        "encoded": base64.b64encode(f"x: {secret}".encode()).decode(),
        "json": json.dumps({"a": secret}),
    }
    redacted = redactor.redact(value)
    assert secret not in json.dumps(redacted)
    tags = {match[2] for match in PLACEHOLDER.finditer(json.dumps(redacted))}
    assert len(tags) == 1
    assert list(map(type, redacted)) == [str] * 6  # type: ignore[arg-type]


@pytest.mark.parametrize("planted", TOKENS, ids=lambda one: one.kind)
def test_a_token_split_over_fields_is_taken_out_of_each(redactor: Redactor, planted: Planted) -> None:
    for at in (2, 9, len(planted.secret) - 9):
        head, tail = planted.secret[:at], planted.secret[at:]
        for value in (
            [f"x {head}", f"{tail} y"],
            {"a": head, "b": tail, "c": "kept"},
            {"a": [head], "b": {"c": tail}},
        ):
            redacted = json.dumps(redactor.redact(value))
            assert tail not in redacted
            assert planted.secret[at : at + 8] not in redacted
            assert "kept" not in json.dumps(value) or "kept" in redacted


def test_what_follows_a_whole_token_in_the_next_field_stays(redactor: Redactor) -> None:
    for planted in TOKENS:
        redacted: Any = redactor.redact([planted.secret, "production", "x"])
        assert redacted[1:] == ["production", "x"], planted.kind


def test_a_private_key_over_lines_of_a_list_is_taken_out(redactor: Redactor) -> None:
    key = next(one for one in PLANTED if one.kind == "private key")
    lines = ["before", *(f"+{line}" for line in key.text.split("\n")), "after"]
    redacted: Any = redactor.redact({"lines": lines})
    assert not holds(redacted, key)
    assert (redacted["lines"][0], redacted["lines"][-1]) == ("before", "after")


def test_a_command_line_that_is_a_list_is_read_as_one(redactor: Redactor) -> None:
    word = PLANTER.some(14)
    for command in (
        ["deploy", "--password", word],
        ["curl", "-u", f"bob:{word}", "https://x"],
        ["sshpass", "-p", word, "ssh", "x"],
    ):
        assert word not in json.dumps(redactor.redact({"command": command}))
    assert redactor.redact(["ls", "-p", "folder1", "--token-file", "/a1"]) == [
        "ls",
        "-p",
        "folder1",
        "--token-file",
        "/a1",
    ]


@pytest.fixture
def uncommon(tmp_path: Path) -> str:
    """A token that only the engine knows."""
    if load_engine(tmp_path / "cache") is None:
        pytest.skip("the secrets extra is not installed")
    return "bk" + "ua_" + PLANTER.some(40, HEX)


def test_the_engine_finds_what_no_form_covers(tmp_path: Path, uncommon: str) -> None:
    value = {"a": f"see {uncommon}", "b": uncommon, uncommon: [1]}
    with_engine, without = new_redactor(tmp_path, engine=True), new_redactor(tmp_path)
    assert without.redact(value) is value
    redacted = with_engine.redact(value)
    assert uncommon not in json.dumps(redacted)
    assert with_engine.redact(redacted) == redacted
    assert sum(with_engine.counts.values()) == 3


def test_places_in_a_text_of_many_alphabets_are_right(tmp_path: Path, uncommon: str) -> None:
    """The engine counts bytes."""
    redacted: Any = new_redactor(tmp_path, engine=True).redact(
        ["\ud800 é", f"Größe \U0001f600 é {uncommon} übrig"]
    )
    assert redacted[0] == "\ud800 é"
    assert redacted[1].startswith("Größe \U0001f600 é [secret:")
    assert redacted[1].endswith("] übrig")


class _Failing:
    """An engine that can't search a text with this word in it."""

    def find(self, text: str) -> list[Span]:
        if "poison" in text:
            raise RuntimeError("failed")
        return []


def test_a_text_that_the_engine_fails_on_goes_whole(tmp_path: Path) -> None:
    redactor = new_redactor(tmp_path)
    redactor.__dict__["engine"] = _Failing()
    redacted: Any = redactor.redact({"a": "poison and more", "b": "fine"})
    assert PLACEHOLDER.fullmatch(redacted["a"])[1] == "unsearched"  # type: ignore[index]
    assert redacted["b"] == "fine"


def test_a_text_of_nothing_but_secrets_is_one_placeholder(redactor: Redactor) -> None:
    text = " ".join(f"token={PLANTER.some(12)}" for _ in range(2_000))
    assert PLACEHOLDER.fullmatch(str(redactor.redact(text)))
    log = "\n".join(f"GET /{n} {'x' * 60} token={PLANTER.some(12)} 200" for n in range(1_000))
    assert str(redactor.redact(log)).count("GET /") == 1_000


def test_secrets_are_counted_by_type(tmp_path: Path) -> None:
    redactor = new_redactor(tmp_path)
    redactor.redact({"password": "x9-y8", "token": "x9-z7", "n": 1})
    redactor.redact({"password": "[secret:password:0a1b2c]"})
    assert dict(redactor.counts) == {"password": 1, "token": 1}


# The key of the tags


def test_tags_of_two_homes_differ_and_those_of_one_agree(tmp_path: Path) -> None:
    value = {"password": "x9-y8-z7"}
    one, again, other = (new_redactor(tmp_path / name).redact(value) for name in ("one", "one", "other"))
    assert one == again != other


def test_the_key_is_private_and_made_once_by_many_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(load_tag_key(home))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    file = home / "redaction.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(home) == ["redaction.key"]
    file.chmod(0o644)
    assert load_tag_key(home) == keys[0]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"short")
    with pytest.raises(OSError, match="remove it"):
        load_tag_key(home)


# A user's own rules

OWN = """
[[token]]
type = "shop-key"
prefixes = ["shop_live_"]
characters = "A-Za-z0-9"
least = 12

[[name]]
type = "secret"
words = ["door code"]

[[option]]
type = "pin"
programs = ["vaultctl"]
options = ["--pin"]

[harmless]
names = ["design token"]

[allow]
values = ["correct-horse-1"]
types = ["aws-key-id"]
"""


def test_a_users_file_adds_rules_and_allows(tmp_path: Path) -> None:
    (tmp_path / "redaction.toml").write_text(OWN)
    redactor = new_redactor(tmp_path)
    aws = next(one for one in TOKENS if one.kind == "aws id")
    kept = {"password": "correct-horse-1", "designToken": "color1", "a": aws.text}
    assert redactor.redact(kept) is kept
    assert "0123456789ab" not in str(redactor.redact("shop_live_0123456789abcdef"))
    assert "open" not in str(redactor.redact({"doorCode": "open"}))
    assert "4711" not in str(redactor.redact("vaultctl unlock --pin 4711"))
    assert "letters" not in str(redactor.redact({"password": "letters"}))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("nonsense = [", "not TOML"),
        ("[rules]\n", "unknown table rules"),
        ('[[token]]\ntype = "a"\nprefixes = []\ncharacters = "A-Z"\nleast = 3', "prefixes"),
        ('[[token]]\ntype = "a"\nprefixes = ["ab"]\ncharacters = "A-Z]+"\nleast = 3', "characters"),
        ('[[token]]\ntype = "a"\nprefixes = ["ab"]\ncharacters = "A-Z"\nleast = 0', "least"),
        ('[[token]]\ntype = "A b"\nprefixes = ["ab"]\ncharacters = "A-Z"\nleast = 3', "type"),
        (
            '[[token]]\ntype = "a"\nprefixes = ["ab"]\ncharacters = "A-Z"\nleast = 3\npattern = "x"',
            "unknown field pattern",
        ),
        ('[[name]]\ntype = "a"\nwords = ["--"]', "words"),
        ("token = 3", r"\[\[token\]\]"),
        ("[allow]\nvalues = 3", "values"),
    ],
)
def test_a_users_file_that_is_wrong_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "redaction.toml").write_text(content)
    with pytest.raises(InvalidInput, match=complaint) as refused:
        new_redactor(tmp_path)
    assert refused.value.stable_code == "redaction_rules"


# Properties

SEEDS = [
    *(one.text for one in PLANTED),
    *("password=", "token: ", "Bearer ", "[secret:", "[secret:password:abc123]", "eyJ", "://u:p@", "--token "),
    *("-----BEGIN PRIVATE " + "KEY-----", "curl -u ", '\\"', "'", "\ud800", "\u0130"),
]
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(st.one_of(st.sampled_from(SEEDS), st.text(LETTERS + "=:\"'\\ \n-./", max_size=12)), max_size=6).map(
        "".join
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return [shape(item) for item in value.values()]
    if isinstance(value, list):
        return tuple(shape(item) for item in value)
    return "text" if isinstance(value, str) else repr(value)


@calm
@given(VALUES)
def test_redaction_never_raises_keeps_the_shape_and_is_done_once(redactor: Redactor, value: Any) -> None:
    before = repr(value)
    redacted = redactor.redact(value)
    assert repr(value) == before
    assert shape(redacted) == shape(value)
    assert repr(redactor.redact(redacted)) == repr(redacted)


def test_a_value_of_any_depth_is_redacted(redactor: Redactor) -> None:
    value: Any = TOKENS[0].text
    for _ in range(5_000):
        value = [value]
    redacted: Any = redactor.redact(value)
    for _ in range(5_000):
        (redacted,) = redacted
    assert TOKENS[0].secret not in redacted
