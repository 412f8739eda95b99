"""Did it pass? What a command's output and exit code say about one program in it.

An exit code speaks for the whole line: `pytest | tail` succeeds when tail does. So the output's summary
decides first, and the exit code only for the program it can speak for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from session_continuity.capture.derivation.derivation_rules import Pattern, Rule
from session_continuity.capture.facts.facts import JSON
from session_continuity.capture.facts.shell_scanner import Segment
from session_continuity.capture.facts.transcripts import fields, names, parts_text, text, whole

HEAD_CHARACTERS, TAIL_CHARACTERS = 16 * 1024, 64 * 1024
_LINE_CHARACTERS = 1000
_SUMMARY_CHARACTERS = 300
_MAX_FAILING = 10
_COLOURS = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
_EXIT_CODE = re.compile(r"(?:Error: )?Exit code (\d{1,4})\b")
_TIMED_OUT = 124
_FILTERS = names("head tail cat tee sort uniq less more")
_HEAD_LINES = 10
_HEAD_COUNT = re.compile(r"(?:^| )(?:-|-n ?|--lines[= ])(\d{1,6})(?: |$)")
_TRIVIAL = names("cd export source . set echo printf true : pushd popd mkdir unset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the output itself told; `passed` is None when it was silent."""

    passed: bool | None = None
    counts: dict[str, int] = field(default_factory=dict[str, int])
    failing: tuple[str, ...] = ()
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The end of a shell command: its exit code (None: unknown) and the lines of output that we look at."""

    exit_code: int | None
    lines: tuple[str, ...]


def finished(result: JSON, error: str | None, outcome: str) -> Finished | None:
    """Read a shell result of any harness; None when the command was cancelled or still runs."""
    told = fields(result)
    task = fields(told.get("task"))
    running = task.get("status", told.get("status")) in ("running", "pending") or "process_id" in told
    if outcome == "cancelled" or running or ("backgroundTaskId" in told and "status" not in told):
        return None
    output = _output(result, task) or (error or "")
    if len(output) > HEAD_CHARACTERS + TAIL_CHARACTERS:
        output = f"{output[:HEAD_CHARACTERS]}\n{output[-TAIL_CHARACTERS:]}"
    lines = (_COLOURS.sub("", line[:_LINE_CHARACTERS]).rstrip() for line in output.splitlines())
    return Finished(exit_code=_exit_code(told, task, error, outcome), lines=tuple(lines))


def reading(rule: Rule, lines: tuple[str, ...], others: tuple[Rule, ...] = ()) -> Verdict:
    """What the output says by itself; a rule that delegates (`make test`) asks the other test rules too."""
    verdict = _read(rule, lines)
    if verdict.passed is not None or not rule.delegates:
        return verdict
    found = (_read(other, lines) for other in others if other.summary)
    return next((other for other in found if other.passed is not None), verdict)


def speaks_for(segments: tuple[Segment, ...], index: int) -> bool:
    """Does success of the whole line mean success of this program?"""
    segment = segments[index]
    pipes = any(_sets(other, "pipefail") for other in segments[:index])
    strict = any(_sets(other, "-e") for other in segments[:index])
    joints = [each.after for each in segments[index:-1]]
    fine = {"&&", "|" if pipes else "&&", ";" if strict else "&&"}
    return not segment.conditional and segment.after != "&" and all(joint in fine for joint in joints)


def passes_on(segments: tuple[Segment, ...], index: int) -> bool:
    """Would anything that this program prints stand in the line's output, the line ending with it?"""
    behind = segments[index + 1 :]
    return (
        not segments[index].conditional
        and all(segment.after == "|" for segment in segments[index:-1])
        and all(segment.words[:1] and segment.words[0] in _FILTERS for segment in behind)
    )


def beheaded(segments: tuple[Segment, ...], index: int, lines: tuple[str, ...]) -> bool:
    """May `head` have cut off what this program said last? Not when it printed fewer lines than it takes."""
    position = index
    while position + 1 < len(segments) and segments[position].after == "|":
        position += 1
        if segments[position].words[:1] == ("head",):
            return len(lines) >= _lines_taken(segments[position].words)
    return False


def _lines_taken(words: tuple[str, ...]) -> int:
    """10 for `head`, 20 for `head -20`, `-n 20`, `-n20` and `--lines=20`; 0 where it can't be told."""
    options = " ".join(words[1:])
    if not any(word.startswith("-") for word in words[1:]):
        return _HEAD_LINES
    match = _HEAD_COUNT.search(options)
    return int(match[1]) if match else 0


def blamed(segments: tuple[Segment, ...], ran: frozenset[int]) -> int | None:
    """The one program that made the line fail, if it can only be one; `ran` are those known to have run.

    Only the last list of a `;` sequence counts, only the last program of a pipe, and where a later program
    of an `&&` chain ran, the earlier ones succeeded.
    """
    start = 0
    for index, segment in enumerate(segments[:-1]):
        if segment.after in (";", "&"):
            start = index + 1
    chain = [
        index
        for index in range(start, len(segments))
        if segments[index].after != "|" and segments[index].words and segments[index].words[0] not in _TRIVIAL
    ]
    if any(segments[index].after == "||" or segments[index].conditional for index in chain):
        return None
    latest = max((index for index in ran if index in chain), default=start)
    suspects = [index for index in chain if index >= latest]
    return suspects[0] if len(suspects) == 1 else None


def _read(rule: Rule, lines: tuple[str, ...]) -> Verdict:
    counts: dict[str, int] = {}
    summaries: list[str] = []
    for line in lines:
        if _any(rule.summary, line):
            summaries.append(line.strip())
            for name, pattern in rule.counts:
                for match in pattern.finditer(line):
                    number = next((group for group in match.groups() if group), "0")
                    counts[name] = counts.get(name, 0) + (int(number[:9]) if number.isdecimal() else 0)
        for name, pattern in rule.tally:
            if pattern.search(line):
                counts[name] = counts.get(name, 0) + 1
    failed = [line for line in lines if _any(rule.failed_when, line)]
    passed = [line for line in lines if _any(rule.passed_when, line)]
    if counts.get("failed", 0) or counts.get("errors", 0) or failed:
        verdict: bool | None = False
    else:
        verdict = True if summaries or passed else None
    told = summaries or failed or passed
    return Verdict(
        passed=verdict,
        counts=_settled(counts),
        failing=_failing(rule, lines) if verdict is False else (),
        summary=told[-1].strip()[:_SUMMARY_CHARACTERS] if told else "",
    )


def _settled(counts: dict[str, int]) -> dict[str, int]:
    """Errors are failures; runners that tell a total instead of passes get the difference."""
    if not counts:
        return {}
    failed = counts.get("failed", 0) + counts.get("errors", 0)
    total = counts.get("total")
    passed = counts.get("passed", total - failed - counts.get("skipped", 0) if total is not None else None)
    return {"failed": failed} if passed is None else {"passed": max(0, passed), "failed": failed}


def _failing(rule: Rule, lines: tuple[str, ...]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for line in lines:
        for pattern in rule.failing:
            if match := pattern.search(line):
                found[match[1].strip()[:200]] = None
        if len(found) >= _MAX_FAILING:
            break
    return tuple(found)[:_MAX_FAILING]


def _any(patterns: tuple[Pattern, ...], line: str) -> bool:
    return any(pattern.search(line) for pattern in patterns)


def _sets(segment: Segment, option: str) -> bool:
    """`set -o pipefail`, `set -e`, `set -euo pipefail`."""
    if segment.words[:1] != ("set",):
        return False
    if option == "pipefail":
        return option in segment.words
    return any(word[:1] == "-" and "e" in word for word in segment.words[1:])


def _output(result: JSON, task: dict[str, JSON]) -> str:
    told = fields(result)
    for holder in (told, task):
        for name in ("output", "aggregated_output", "content"):
            if words := parts_text(holder.get(name)):
                return words
    streams = [text(told.get(name)) for name in ("stdout", "stderr")]
    return "\n".join(stream for stream in streams if stream) or parts_text(result)


def _exit_code(told: dict[str, JSON], task: dict[str, JSON], error: str | None, outcome: str) -> int | None:
    for value in (told.get("exit_code"), told.get("exitCode"), task.get("exitCode"), task.get("exit_code")):
        if (code := whole(value)) is not None:
            return code
    if outcome == "success":
        return 0
    if match := _EXIT_CODE.match(error or ""):
        return int(match[1])
    return _TIMED_OUT if "timed out" in (error or "")[:200] else None
