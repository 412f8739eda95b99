"""Secrets that are known by how they look: tokens by their beginning, private keys, JWTs, passwords in URLs; and
the runs of base64 that may hold any of them.

Every search is linear in the text: what only begins like a secret is short, or consumed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from session_continuity.capture.redaction.redaction_rules import TokenRule
from session_continuity.capture.redaction.secret_names import is_mixed

PRIVATE_KEY = "private-key"
"""The type of a private key; the one form that several lines belong to."""

_LEAST_BASE64 = 16

_URL = re.compile(r"""://(?:[^\s/?#"'`<>\\@:]{0,200}+:)?(?P<password>[^\s/?#"'`<>\\@]{1,400}+)@""")
_BASE64 = re.compile(
    r"(?:[A-Za-z0-9+/_-]{60,76}+\r?\n)++[A-Za-z0-9+/_-]{1,76}+={0,2}"  # in lines, as the tool base64 writes it
    r"|[A-Za-z0-9+/_-]{16,}+={0,2}"
)
_NO_BASE64 = re.compile(r"[a-z_/-]++")  # a word or a path: base64 of a text has capitals or digits
_READABLE = re.compile(r"[^\W_]")
_URL_TOKEN = re.compile(r"[A-Za-z0-9_.~%-]{16,}+")
_WORD = re.compile(r"\w")
_NO_PASSWORD = re.compile(r"[xX*.•\W_]*+")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]*+(?:\.[A-Za-z0-9_-]*+){0,4}")
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


class Span(NamedTuple):
    """Where a secret stands in a text. `secret` is what it is, where that is not what stands there (base64)."""

    start: int
    end: int
    type: str
    secret: str | None = None


class Searched(NamedTuple):
    """A text, the same in lower case, and where the texts border that it is joined of: a word ends there."""

    text: str
    lowered: str
    borders: frozenset[int] = frozenset()


class Encoded(NamedTuple):
    """A run of base64 in a text, and what it says."""

    start: int
    end: int
    text: str


def encoded_runs(text: str) -> Iterator[Encoded]:
    """The runs of base64 in a text that say something."""
    for match in _BASE64.finditer(text):
        if match.end() - match.start() >= _LEAST_BASE64 and (said := _decoded(match[0])) is not None:
            yield Encoded(match.start(), match.end(), said)


def _decoded(run: str) -> str | None:
    if _NO_BASE64.fullmatch(run):
        return None
    compact = "".join(run.split()).rstrip("=").replace("-", "+").replace("_", "/")
    compact = compact[:-1] if len(compact) % 4 == 1 else compact
    try:
        said = base64.b64decode(compact + "=" * (-len(compact) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return said if _READABLE.search(said) else None


def token_finder(rule: TokenRule, prefix: str) -> Callable[[Searched], Iterator[Span]]:
    some = f"[{rule.characters}]"
    # The literal comes first, so that it is looked for and not matched at every place.
    pattern = re.compile(f"{re.escape(prefix)}{some}{{{rule.least}{'' if rule.exact else ','}}}+")
    more = re.compile(some)

    def find(searched: Searched) -> Iterator[Span]:
        text, _, borders = searched
        for match in pattern.finditer(text):
            start, end = match.span()
            if rule.alone and start not in borders and _WORD.match(text, max(0, start - 1), start):
                continue
            if rule.exact and end not in borders and more.match(text, end):
                continue
            if not rule.mixed or is_mixed(match[0][len(prefix) :]):
                yield Span(start, end, rule.type)

    return find


def find_jwts(searched: Searched) -> Iterator[Span]:
    for match in _JWT.finditer(searched.text):  # what only begins like one is consumed, too
        parts = match[0].split(".")
        if len(parts) >= 3 and parts[1].startswith("eyJ") and len(parts[0]) >= 10 and len(parts[1]) >= 10:
            yield Span(match.start(), match.end(), "jwt")


def find_private_keys(searched: Searched) -> Iterator[Span]:
    text, at = searched.text, 0
    while begin := _KEY_BEGIN.search(text, at):
        end = _KEY_END.search(text, begin.end())
        at = end.end() if end else len(text)  # a key that was cut off reaches to the end
        yield Span(begin.start(), at, PRIVATE_KEY)


def find_urls(searched: Searched) -> Iterator[Span]:
    text = searched.text
    for match in _URL.finditer(text):
        start, end = match.span("password")
        named = text[start - 1] == ":" and start - match.start() > 3
        value = match["password"]
        if value.startswith(("$", "<", "{")) or _NO_PASSWORD.fullmatch(value):
            continue
        if named or (_URL_TOKEN.fullmatch(value) and is_mixed(value)):
            yield Span(start, end, "url-password")


def places(words: Iterable[str], text: str) -> Iterator[tuple[int, int]]:
    """Where each of the words stands, from and to."""
    for word in words:
        at = text.find(word)
        while at >= 0:
            yield at, at + len(word)
            at = text.find(word, at + len(word))
