"""The rules by which a finished command becomes events: read from TOML and checked.

The rules we ship are `derivation_rules.toml`; a user's file has the same form. A user's rule comes before
ours, replaces one of the same name, and `disabled = true` takes one away. The shipped file's head
explains every field.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from session_continuity.domain.errors import InvalidInput

Kind: TypeAlias = Literal["test", "validation", "deployment", "record", "files", "patch"]
Take: TypeAlias = Literal["all", "last", "move", "redirect", "output"]
Pattern: TypeAlias = "re.Pattern[str]"

SHIPPED = "derivation_rules.toml"
_MAX_PATTERN_CHARACTERS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A command and the events it must give, as a user's own test of a rule."""

    command: str = ""
    tool: str = "Bash"
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    output: str = ""
    result: Mapping[str, Any] | None = None
    exit_code: int = 0
    events: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; the head of `derivation_rules.toml` says what each field means."""

    name: str
    kind: Kind
    origin: str
    event: str = ""
    label: str = ""
    commands: tuple[tuple[str, ...], ...] = ()
    tools: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    summary: tuple[Pattern, ...] = ()
    counts: tuple[tuple[str, Pattern], ...] = ()
    tally: tuple[tuple[str, Pattern], ...] = ()
    failed_when: tuple[Pattern, ...] = ()
    passed_when: tuple[Pattern, ...] = ()
    failing: tuple[Pattern, ...] = ()
    delegates: bool = False
    silent: bool = False
    capture: tuple[Pattern, ...] = ()
    capture_required: bool = False
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    flags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    results: tuple[tuple[str, tuple[str, ...]], ...] = ()
    argument: str = ""
    take: Take = "all"
    skip: int = 0
    change: str = "modified"
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules in force, in the order in which they are tried."""

    rules: tuple[Rule, ...]

    def of(self, *kinds: Kind) -> tuple[Rule, ...]:
        """The rules of some kinds."""
        return tuple(rule for rule in self.rules if rule.kind in kinds)


def load_rules(extra: Path | None = None) -> Rules:
    """The shipped rules and, before them, those of a user's file; `InvalidInput` says what is wrong there."""
    shipped = _shipped()
    if extra is None:
        return shipped
    try:
        content = extra.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{extra}: can't be read: {error}", file=str(extra)) from error
    own, disabled = _parse(content, str(extra))
    replaced = disabled | {rule.name for rule in own}
    return Rules(rules=(*own, *(rule for rule in shipped.rules if rule.name not in replaced)))


@cache
def _shipped() -> Rules:
    content = resources.files("session_continuity.capture.derivation").joinpath(SHIPPED).read_text("utf-8")
    rules, _ = _parse(content, SHIPPED)
    return Rules(rules=rules)


def _parse(content: str, origin: str) -> tuple[tuple[Rule, ...], set[str]]:
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{origin}: not TOML: {error}", file=origin) from error
    tables = document.pop("rule", [])
    if document or not isinstance(tables, list):
        raise InvalidInput(f"{origin}: only [[rule]] tables are known", file=origin)
    rules: list[Rule] = []
    disabled: set[str] = set()
    for number, table in enumerate(cast(list[Any], tables), start=1):
        reader = _Table(table, origin, f"rule {number}").named()
        if reader.flag("disabled"):
            disabled.add(reader.name)
        else:
            rules.append(_rule(reader))
    return tuple(rules), disabled


def _rule(table: _Table) -> Rule:
    rule = Rule(
        name=table.name,
        kind=table.one_of("kind", get_args(Kind)),
        origin=table.origin,
        event=table.word("event"),
        label=table.word("label"),
        commands=tuple(tuple(command.split()) for command in table.words("commands")),
        tools=frozenset(table.words("tools")),
        needs=table.words("needs"),
        unless=table.words("unless"),
        summary=table.patterns("summary"),
        counts=table.named_patterns("counts"),
        tally=table.named_patterns("tally"),
        failed_when=table.patterns("failed_when"),
        passed_when=table.patterns("passed_when"),
        failing=table.patterns("failing"),
        delegates=table.flag("delegates"),
        silent=table.flag("silent"),
        capture=table.patterns("capture"),
        capture_required=table.flag("capture_required"),
        options=table.named_words("options"),
        flags=table.named_words("flags"),
        parameters=table.named_words("parameters"),
        results=table.named_words("results"),
        argument=table.word("argument"),
        take=table.one_of("take", get_args(Take), "all"),
        skip=table.number("skip"),
        change=table.one_of("change", ("created", "modified", "deleted"), "modified"),
        examples=table.examples(),
    )
    table.finish()
    if not rule.commands and not rule.tools:
        raise table.wrong("names neither commands nor tools")
    if (rule.kind == "record") != bool(rule.event):
        raise table.wrong("a rule of kind record, and no other, needs an event")
    return rule


class _Table:
    """Takes a rule's fields out of its table one by one; what is left over is an error."""

    def __init__(self, table: Any, origin: str, name: str, part: str = "") -> None:
        self.origin = origin
        self.name = name
        self._part = f"{part}: " if part else ""
        if not isinstance(table, dict):
            raise self.wrong("is not a table")
        self._left = dict(cast(dict[str, Any], table))

    def named(self) -> _Table:
        """Take the rule's own name, which errors then tell."""
        name = self.word("name")
        if not name:
            raise self.wrong("has no name")
        self.name = name
        return self

    def wrong(self, reason: str) -> InvalidInput:
        reason = f"{self._part}{reason}"
        message = f"{self.origin}: {self.name}: {reason}"
        return InvalidInput(message, file=self.origin, rule=self.name, reason=reason)

    def finish(self) -> None:
        if self._left:
            raise self.wrong(f"unknown field {', '.join(sorted(self._left))}")

    def word(self, name: str) -> str:
        return self._take(name, str, "")

    def has(self, name: str) -> bool:
        return name in self._left

    def table(self, name: str) -> Mapping[str, Any]:
        return self._take(name, dict, {})

    def list(self, name: str) -> list[Any]:
        return self._take(name, list, [])

    def flag(self, name: str) -> bool:
        return self._take(name, bool, False)

    def number(self, name: str) -> int:
        return self._take(name, int, 0)

    def one_of(self, name: str, allowed: tuple[Any, ...], default: str = "") -> Any:
        value = self.word(name) or default
        if value not in allowed:
            raise self.wrong(f"{name} must be one of {', '.join(allowed)}")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        return self._checked_words(name, self._take(name, list, []))

    def named_words(self, name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        table: dict[str, Any] = self._take(name, dict, {})
        return tuple((key, self._checked_words(f"{name}.{key}", value)) for key, value in table.items())

    def patterns(self, name: str) -> tuple[Pattern, ...]:
        return tuple(self._pattern(name, written) for written in self.words(name))

    def named_patterns(self, name: str) -> tuple[tuple[str, Pattern], ...]:
        table: dict[str, Any] = self._take(name, dict, {})
        return tuple((key, self._pattern(f"{name}.{key}", written)) for key, written in table.items())

    def examples(self) -> tuple[Example, ...]:
        tables = cast(list[Any], self._take("examples", list, []))
        return tuple(self._example(number, table) for number, table in enumerate(tables, start=1))

    def _example(self, number: int, written: Any) -> Example:
        table = _Table(written, self.origin, self.name, part=f"example {number}")
        example = Example(
            command=table.word("command"),
            tool=table.word("tool") or "Bash",
            parameters=table.table("parameters"),
            output=table.word("output"),
            result=table.table("result") if table.has("result") else None,
            exit_code=table.number("exit_code"),
            events=tuple(cast(list[Mapping[str, Any]], table.list("events"))),
        )
        table.finish()
        if not all(isinstance(event, dict) and "type" in event for event in cast(list[Any], example.events)):
            raise table.wrong("every expected event needs a type")
        return example

    def _take(self, name: str, kind: type[Any], default: Any) -> Any:
        value = self._left.pop(name, default)
        if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 0)):
            raise self.wrong(f"{name} must be of type {kind.__name__}")
        return value

    def _checked_words(self, name: str, value: Any) -> tuple[str, ...]:
        words = cast(list[Any], value) if isinstance(value, list) else [value]
        if not all(isinstance(word, str) and word.strip() for word in words):
            raise self.wrong(f"{name} must be texts that are not empty")
        return tuple(words)

    def _pattern(self, name: str, written: Any) -> Pattern:
        if not isinstance(written, str) or len(written) > _MAX_PATTERN_CHARACTERS:
            raise self.wrong(f"{name} must be a pattern of at most {_MAX_PATTERN_CHARACTERS} characters")
        try:
            return re.compile(written)
        except re.error as error:
            raise self.wrong(f"{name} is not a regular expression: {error}") from error
