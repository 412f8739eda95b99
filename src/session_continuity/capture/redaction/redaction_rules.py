"""The rules of redaction: read from TOML and checked.

The rules we ship are `redaction_rules.toml`, whose head explains every field; a user's file adds to them. Rules
hold no regular expressions: every form that a rule can have is searched in linear time.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, cast

from session_continuity.domain.errors import InvalidInput

SHIPPED = "redaction_rules.toml"
USER_FILE = "redaction.toml"

_TYPE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_CHARACTERS = re.compile(r"(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9_.=+/~:@!#$%&*])+-?|-")
_LONGEST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRule:
    """A token that is known by how it begins."""

    type: str
    prefixes: tuple[str, ...]
    characters: str
    least: int
    exact: bool = False
    alone: bool = False
    mixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRule:
    """Names, as words, whose value is a secret."""

    type: str
    words: tuple[tuple[str, ...], ...]
    last: bool = False
    mixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRule:
    """Options of some programs whose value is a secret."""

    type: str
    programs: tuple[str, ...]
    options: tuple[str, ...]
    glued: bool = False
    pair: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionRules:
    """All rules in force."""

    tokens: tuple[TokenRule, ...] = ()
    names: tuple[NameRule, ...] = ()
    options: tuple[OptionRule, ...] = ()
    harmless_first: frozenset[str] = frozenset()
    harmless_last: frozenset[str] = frozenset()
    harmless_names: frozenset[tuple[str, ...]] = frozenset()
    harmless_values: frozenset[str] = frozenset()
    allowed_values: frozenset[str] = frozenset()
    allowed_types: frozenset[str] = frozenset()


def load_redaction_rules(extra: Path | None = None) -> RedactionRules:
    """The shipped rules and those of a user's file, where there is one. Raises InvalidInput, which says what is
    wrong in the file."""
    shipped = _shipped()
    try:
        content = extra.read_text("utf-8") if extra is not None else ""
    except FileNotFoundError:
        return shipped
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{extra} can't be read: {error}", code="redaction_rules") from None
    own = _parse(content, str(extra))
    names = RedactionRules.__dataclass_fields__
    return RedactionRules(**{name: _joined(getattr(own, name), getattr(shipped, name)) for name in names})


def name_words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: access, key for accessKey, ACCESS_KEY and access-key."""
    return tuple(word.lower() for word in _WORDS.findall(name))


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")


def _joined(own: Any, shipped: Any) -> Any:
    return own | shipped if isinstance(own, frozenset) else (*own, *shipped)


@cache
def _shipped() -> RedactionRules:
    content = resources.files("session_continuity.capture.redaction").joinpath(SHIPPED).read_text("utf-8")
    return _parse(content, SHIPPED)


def _parse(content: str, origin: str) -> RedactionRules:
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{origin}: not TOML: {error}", code="redaction_rules") from None
    unknown = document.keys() - {"token", "name", "option", "harmless", "allow"}
    if unknown:
        raise InvalidInput(f"{origin}: unknown table {', '.join(sorted(unknown))}", code="redaction_rules")
    harmless = _Table(document.get("harmless", {}), f"{origin}: harmless")
    allow = _Table(document.get("allow", {}), f"{origin}: allow")
    rules = RedactionRules(
        tokens=tuple(_token(table) for table in _tables(document, "token", origin)),
        names=tuple(_name(table) for table in _tables(document, "name", origin)),
        options=tuple(_option(table) for table in _tables(document, "option", origin)),
        harmless_first=frozenset(harmless.texts("first")),
        harmless_last=frozenset(harmless.texts("last")),
        harmless_names=frozenset(name_words(name) for name in harmless.texts("names")),
        harmless_values=frozenset(value.lower() for value in harmless.texts("values")),
        allowed_values=frozenset(allow.texts("values")),
        allowed_types=frozenset(allow.texts("types")),
    )
    harmless.finish()
    allow.finish()
    return rules


def _tables(document: Mapping[str, Any], kind: str, origin: str) -> list[_Table]:
    tables = document.get(kind, [])
    if not isinstance(tables, list):
        raise InvalidInput(f"{origin}: write [[{kind}]] for each {kind}", code="redaction_rules")
    numbered = enumerate(cast("list[Any]", tables), start=1)
    return [_Table(table, f"{origin}: {kind} {number}") for number, table in numbered]


def _token(table: _Table) -> TokenRule:
    rule = TokenRule(
        type=table.type(),
        prefixes=table.texts("prefixes", at_least=1),
        characters=table.text("characters"),
        least=table.number("least"),
        exact=table.flag("exact"),
        alone=table.flag("alone"),
        mixed=table.flag("mixed"),
    )
    table.finish()
    if not _CHARACTERS.fullmatch(rule.characters):
        raise table.wrong("characters must be like A-Za-z0-9_- (letters, digits, _.=+/~:@!#$%&*, a hyphen last)")
    if any(len(prefix) < 2 for prefix in rule.prefixes):
        raise table.wrong("a prefix must have two characters or more")
    return rule


def _name(table: _Table) -> NameRule:
    rule = NameRule(
        type=table.type(),
        words=tuple(name_words(words) for words in table.texts("words", at_least=1)),
        last=table.flag("last"),
        mixed=table.flag("mixed"),
    )
    table.finish()
    if not all(rule.words):
        raise table.wrong("words must hold letters or digits")
    return rule


def _option(table: _Table) -> OptionRule:
    rule = OptionRule(
        type=table.type(),
        programs=table.texts("programs", at_least=1),
        options=table.texts("options", at_least=1),
        glued=table.flag("glued"),
        pair=table.flag("pair"),
    )
    table.finish()
    return rule


class _Table:
    """Takes a rule's fields out of its table one by one; what is left over is an error."""

    def __init__(self, table: Any, where: str) -> None:
        self._where = where
        if not isinstance(table, dict):
            raise self.wrong("is not a table")
        self._left = dict(cast("dict[str, Any]", table))

    def wrong(self, reason: str) -> InvalidInput:
        return InvalidInput(f"{self._where}: {reason}", code="redaction_rules")

    def finish(self) -> None:
        if self._left:
            raise self.wrong(f"unknown field {', '.join(sorted(self._left))}")

    def type(self) -> str:
        value = self.text("type")
        if not _TYPE.fullmatch(value) or len(value) > 40:
            raise self.wrong("type must be lower-case letters, digits and hyphens, 40 at most")
        return value

    def text(self, name: str) -> str:
        value = self._left.pop(name, "")
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST:
            raise self.wrong(f"{name} must be a text of 1 to {_LONGEST:,} characters")
        return value

    def texts(self, name: str, at_least: int = 0) -> tuple[str, ...]:
        value = self._left.pop(name, [])
        texts: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [None]
        if len(texts) < at_least or not all(isinstance(text, str) and 0 < len(text) <= _LONGEST for text in texts):
            raise self.wrong(f"{name} must be a list of texts")
        return tuple(texts)

    def flag(self, name: str) -> bool:
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise self.wrong(f"{name} must be true or false")
        return value

    def number(self, name: str) -> int:
        value = self._left.pop(name, None)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LONGEST:
            raise self.wrong(f"{name} must be a number from 1 to {_LONGEST:,}")
        return value
