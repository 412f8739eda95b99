"""From one finished command to the events it stands for: tests, checks, commits, changed files, ...

The rules are data (`derivation_rules.toml` and a user's own file); this module applies them. A rule never
matches a word inside an argument: a command line is taken apart first, and rules see programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from session_continuity.capture.derivation import file_changes
from session_continuity.capture.derivation.derivation_rules import Example, Rule, Rules, load_rules
from session_continuity.capture.derivation.verdicts import (
    Finished,
    Verdict,
    beheaded,
    blamed,
    finished,
    passes_on,
    reading,
    speaks_for,
)
from session_continuity.capture.facts.actions import SHELL_TOOLS
from session_continuity.capture.facts.facts import JSON, Outcome, Record
from session_continuity.capture.facts.shell_commands import (
    arguments_of,
    command_of,
    matching_arguments,
    option_value,
    segments,
)
from session_continuity.capture.facts.shell_scanner import Segment
from session_continuity.capture.facts.transcripts import fields, names, parse_object, text

__all__ = ["DerivedEvent", "FinishedCommand", "Rules", "check_rules", "derive", "load_rules"]

_POLLING_TOOLS = names("TaskOutput BashOutput write_stdin")
_COMMAND_CHARACTERS = 500
_MESSAGE_CHARACTERS = 2000
_EVENTS: dict[str, tuple[str, str, str]] = {
    "test": ("test_passed", "test_failed", "runner"),
    "validation": ("validation_passed", "validation_failed", "tool"),
    "deployment": ("deployment_completed", "deployment_failed", "target"),
}
"""For each kind that passes or fails: its two events, and what the rule's label is called in their data."""

_STARTS = {"test": ("test_started", "runner"), "deployment": ("deployment_started", "target")}
"""For each kind whose start is told when it goes on in the background: the event, and what the label is called."""

_HEREDOC_MESSAGE = re.compile(r"\$\(cat <<-?\s*['\"\\]?(\w{1,40})['\"]?\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedCommand:
    """A tool call with its outcome, from a transcript or from a hook of any harness."""

    tool: str
    parameters: Record
    result: JSON
    outcome: Outcome
    error: str | None = None
    cwd: str | None = None
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedEvent:
    """An event to append: its type and its plain JSON data."""

    event_type: str
    data: dict[str, JSON]


def derive(command: FinishedCommand, rules: Rules | None = None) -> list[DerivedEvent]:
    """The events of one finished command in the order of its parts; changed files come last, in one event."""
    rules = rules or load_rules()
    if command.outcome == "cancelled":
        return []
    if command.tool in SHELL_TOOLS or command.tool in _POLLING_TOOLS:
        line = command_of(command.parameters, command.result)
        return _from_shell(line, command, rules) if line else []
    return list(_from_tool(command, rules))


def check_rules(rules: Rules) -> list[str]:
    """Run every rule's own examples; returns what failed, one line each, and nothing when all is well."""
    failures: list[str] = []
    for rule in rules.rules:
        for number, example in enumerate(rule.examples, start=1):
            got = derive(_played(example), rules)
            wanted = example.events
            if not _as_expected(got, wanted):
                shown = [{"type": event.event_type, **event.data} for event in got]
                place = f"{rule.origin}: {rule.name}: example {number} ({example.command or example.tool})"
                failures.append(f"{place}: expected {[dict(each) for each in wanted]}, got {shown}")
    return failures


def _from_tool(command: FinishedCommand, rules: Rules) -> Iterator[DerivedEvent]:
    if command.outcome != "success":
        return
    changes: file_changes.Changes = {}
    for rule in rules.rules:
        if command.tool not in rule.tools:
            continue
        if rule.kind == "record":
            yield _record_of_tool(rule, command)
        elif rule.kind == "files":
            changes |= file_changes.by_tool(rule, command.parameters, command.result)
        elif rule.kind == "patch":
            changes |= file_changes.by_patch(file_changes.patch_text(command.parameters))
    if changes:
        yield _files_changed(file_changes.placed(changes, command.cwd))


def _record_of_tool(rule: Rule, command: FinishedCommand) -> DerivedEvent:
    told = fields(command.result)
    told = told | parse_object(text(told.get("output")) or "")
    data: dict[str, JSON] = {}
    for source, wanted in ((command.parameters, rule.parameters), (told, rule.results)):
        for name, several in wanted:
            value = next((text(source.get(each)) for each in several if text(source.get(each))), None)
            if value:
                data[name] = value[:_MESSAGE_CHARACTERS]
    if command.tool_call_id:
        data["tool_call_id"] = command.tool_call_id
    return DerivedEvent(event_type=rule.event, data=data)


def _from_shell(line: str, command: FinishedCommand, rules: Rules) -> list[DerivedEvent]:
    end = finished(command.result, command.error, command.outcome)
    if end is None:
        return _started(line, rules) if command.tool in SHELL_TOOLS else []
    return _ShellLine(line, segments(line), end, command.cwd, rules).events()


def _started(line: str, rules: Rules) -> list[DerivedEvent]:
    """What a line that goes on in the background will tell later, when its output is fetched."""
    told: list[DerivedEvent] = []
    for segment in segments(line):
        rule = _rule_of(segment, rules)
        if rule and rule.kind in _STARTS:
            event, label = _STARTS[rule.kind]
            data: dict[str, JSON] = {"command": _shown(line), label: rule.label or rule.name}
            told.append(DerivedEvent(event_type=event, data=data))
    return told


class _ShellLine:
    """One command line that has ended: which of its programs a rule knows, and how each of them went."""

    def __init__(
        self, line: str, found: tuple[Segment, ...], end: Finished, cwd: str | None, rules: Rules
    ) -> None:
        self._line = _shown(line)
        self._segments = found
        self._end = end
        self._cwd = cwd
        self._rules = rules
        known = ((index, _rule_of(segment, rules)) for index, segment in enumerate(found))
        self._known = [(index, rule) for index, rule in known if rule]
        judged = {rule.name: rule for _, rule in self._known if rule.kind != "record"}
        told = {name: reading(rule, end.lines, rules.of("test")) for name, rule in judged.items()}
        self._verdicts = {index: told[rule.name] for index, rule in self._known if rule.name in told}
        ran = frozenset(index for index, verdict in self._verdicts.items() if verdict.passed is not None)
        self._blamed = blamed(found, ran) if end.exit_code else None

    def events(self) -> list[DerivedEvent]:
        told: list[DerivedEvent] = []
        heard: set[str] = set()
        captured = {rule.name: self._captured(rule) for _, rule in self._known if rule.kind == "record"}
        for index, rule in self._known:
            if rule.kind == "record":
                told += self._recorded(rule, index, captured[rule.name])
            elif rule.name not in heard:
                told += self._judged(rule, index)
                # The output's sum is of all runs of this program in the line: it is told once.
                heard |= {rule.name} if self._verdicts[index].passed is not None else set()
        files = self._files()
        return [*told, _files_changed(files)] if files else told

    def _judged(self, rule: Rule, index: int) -> list[DerivedEvent]:
        verdict = self._verdicts[index]
        passed = self._passed(index, verdict, rule)
        if passed is None:
            return []
        success, failure, label = _EVENTS[rule.kind]
        data: dict[str, JSON] = {"command": self._line, label: rule.label or rule.name}
        if rule.kind == "test":
            data |= verdict.counts
            data |= {} if passed else {"failing": list(verdict.failing)}
        if verdict.summary:
            data["summary"] = verdict.summary
        return [DerivedEvent(event_type=success if passed else failure, data=data)]

    def _passed(self, index: int, verdict: Verdict, rule: Rule) -> bool | None:
        if verdict.passed is False or index == self._blamed:
            return False
        if verdict.passed and not beheaded(self._segments, index, self._end.lines):
            return True
        nothing_said = self._end.exit_code == 0 and not any(self._end.lines)
        if rule.silent and nothing_said and passes_on(self._segments, index):
            return True
        later = [each for each, other in self._verdicts.items() if each > index and other.passed is not None]
        if self._end.exit_code == 0 and speaks_for(self._segments, index):
            return True
        # A later program of the same && chain has reported, so this one must have succeeded.
        chain = self._segments[index : max(later, default=index)]
        reached = bool(later) and all(segment.after == "&&" for segment in chain)
        return True if reached and not self._segments[index].conditional else None

    def _captured(self, rule: Rule) -> list[Record]:
        """What the output tells, for each program of this rule in the line: its own part, or the last one."""
        found: list[Record] = []
        for line in self._end.lines:
            match = next((match for pattern in rule.capture if (match := pattern.search(line))), None)
            if match:
                found.append({name: _value(name, value) for name, value in match.groupdict().items() if value})
        several = sum(known is rule for _, known in self._known)
        return found if len(found) == several else found[-1:]

    def _recorded(self, rule: Rule, index: int, told: list[Record]) -> list[DerivedEvent]:
        segment = self._segments[index]
        captured = told.pop(0) if told else {}
        worked = self._end.exit_code == 0 and speaks_for(self._segments, index)
        if not captured and (rule.capture_required or not worked):
            return []
        said: dict[str, JSON] = {}
        for name, several in rule.options:
            if value := option_value(segment.words, several):
                said[name] = _message(value)
        for name, several in rule.flags:
            if any(word in several for word in segment.words):
                said[name] = True
        first = next(iter(arguments_of(_match(rule, segment) or ())), None)
        if rule.argument and first and rule.argument not in captured:
            said[rule.argument] = _value(rule.argument, first)
        return [DerivedEvent(event_type=rule.event, data={**said, **captured, **_whole_message(said, captured)})]

    def _files(self) -> list[JSON]:
        if self._end.exit_code != 0:
            return []
        found: dict[str, JSON] = {}
        for segment in self._segments:
            if segment.conditional or segment.after == "||":
                continue
            for rule in self._rules.of("files", "patch"):
                rest = _match(rule, segment)
                if rest is None:
                    continue
                if rule.take == "output":
                    changes = file_changes.by_output(rule, self._end.lines)
                elif rule.kind == "patch":
                    changes = file_changes.by_patch(segment.heredoc or (rest[0] if rest else ""))
                else:
                    changes = file_changes.by_shell(rule, segment, rest)
                for file in file_changes.placed(changes, self._cwd, segment.folder):
                    found[str(fields(file)["path"])] = file
        return list(found.values())


def _shown(line: str) -> str:
    return line.strip()[:_COMMAND_CHARACTERS]


def _rule_of(segment: Segment, rules: Rules) -> Rule | None:
    candidates = rules.of("test", "validation", "deployment", "record")
    return next((rule for rule in candidates if _match(rule, segment) is not None), None)


def _match(rule: Rule, segment: Segment) -> tuple[str, ...] | None:
    """The words after the command that a rule names, when the rule is about this program at all."""
    if any(word in rule.unless for word in segment.words):
        return None
    if rule.needs and not any(word.startswith(needed) for word in segment.words for needed in rule.needs):
        return None
    if not segment.words:
        return None
    matches = (matching_arguments(segment.words, command) for command in rule.commands)
    return next((rest for rest in matches if rest is not None), None)


def _value(name: str, value: str) -> JSON:
    return int(value) if name == "number" and value.isdigit() else value[:_MESSAGE_CHARACTERS]


def _message(value: str) -> str:
    """A message given as `"$(cat <<'EOF' ... EOF)"` without its wrapping."""
    if opening := _HEREDOC_MESSAGE.match(value):
        value = value[opening.end() :].partition(f"\n{opening[1]}")[0]
    return value.strip()[:_MESSAGE_CHARACTERS]


def _whole_message(said: Mapping[str, JSON], captured: Mapping[str, JSON]) -> dict[str, JSON]:
    """git prints only the first line of a message; take the command's own when it begins with that line."""
    given, printed = said.get("message"), captured.get("message")
    if isinstance(given, str) and isinstance(printed, str) and given.startswith(printed):
        return {"message": given}
    return {}


def _files_changed(files: list[JSON]) -> DerivedEvent:
    return DerivedEvent(event_type="files_changed", data={"files": files})


def _played(example: Example) -> FinishedCommand:
    failed = example.exit_code != 0
    result: Record = {"output": example.output, "exit_code": example.exit_code}
    if example.result is not None:
        result = cast(Record, dict(example.result))
    return FinishedCommand(
        tool=example.tool,
        parameters=cast(Record, dict(example.parameters)) or {"command": example.command},
        result=result,
        outcome="failure" if failed else "success",
        error=f"Exit code {example.exit_code}\n{example.output}" if failed else None,
        cwd="/srv",
    )


def _as_expected(got: list[DerivedEvent], wanted: tuple[Mapping[str, Any], ...]) -> bool:
    """Each expected event names its type and some of its data."""
    if len(got) != len(wanted):
        return False
    for event, expected in zip(got, wanted, strict=True):
        told = {"type": event.event_type, **event.data}
        if any(told.get(name) != value for name, value in expected.items()):
            return False
    return True
