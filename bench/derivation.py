"""Precision and recall of the derived events against labels that a person made by reading the recordings.

    python bench/derivation.py [RECORDINGS] [--labels tests/labels] [--quiet]

A label file (TOML) names a recording below RECORDINGS, every one of its commands by tool call id, and the events
that each stands for. A derived event is right when its command has a label of its type that is not taken yet and
everything the label says stands in the event: failing names, counts, sha, branch, every changed file.
Every false and every missed event is printed.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from session_continuity.capture.derivation.derivation import FinishedCommand, Rules, derive
from session_continuity.capture.facts import facts
from session_continuity.capture.facts.transcripts import open_lines
from session_continuity.capture.harnesses.readers import READERS

LABELS = Path(__file__).parents[1] / "tests" / "labels"
RECORDINGS = Path(__file__).parents[2] / "shared" / "data" / "transcripts"


class Told(NamedTuple):
    """An event of one command, labelled or derived."""

    call: str
    event_type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a person says of a recording; `nothing` are the commands that stand for no event."""

    name: str
    recording: str
    harness: str
    events: tuple[Told, ...]
    nothing: frozenset[str]

    @property
    def calls(self) -> frozenset[str]:
        return self.nothing | {event.call for event in self.events}


class Score(NamedTuple):
    """One event type's figures; a share of nothing is None."""

    right: int
    false: int
    missed: int

    @property
    def precision(self) -> float | None:
        return self.right / (self.right + self.false) if self.right + self.false else None

    @property
    def recall(self) -> float | None:
        return self.right / (self.right + self.missed) if self.right + self.missed else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Derived events against labels."""

    right: tuple[Told, ...]
    false: tuple[Told, ...]
    missed: tuple[Told, ...]

    def scores(self) -> dict[str, Score]:
        """The figures of each event type that was labelled or derived."""
        right, false, missed = (
            Counter(event.event_type for event in several) for several in (self.right, self.false, self.missed)
        )
        return {name: Score(right[name], false[name], missed[name]) for name in sorted(right | false | missed)}


def read_labels(folder: Path = LABELS) -> list[Labels]:
    """Every label file of a folder, by name."""
    return [_labels(path) for path in sorted(folder.glob("*.toml"))]


def _labels(path: Path) -> Labels:
    document = tomllib.loads(path.read_text("utf-8"))
    events = tuple(
        Told(event["call"], event["type"], {k: v for k, v in event.items() if k not in ("call", "type")})
        for event in document.get("events", [])
    )
    return Labels(
        name=path.stem,
        recording=document["recording"],
        harness=document["harness"],
        events=events,
        nothing=frozenset(document["nothing"]),
    )


def read_facts(labels: Labels, recordings: Path) -> Iterator[facts.Fact]:
    """The facts of a labelled recording."""
    for fact in READERS[labels.harness]().read(open_lines(recordings / labels.recording)):
        if not isinstance(fact, facts.Problem):
            yield fact


def derived(told: Iterable[facts.Fact], rules: Rules | None = None) -> Iterator[Told]:
    """The events that the commands among some facts stand for."""
    calls: dict[str, facts.ToolCalled] = {}
    spawned: set[str] = set()
    cwd: str | None = None
    for fact in told:
        match fact:
            case facts.SessionStarted() | facts.SessionChanged():
                cwd = fact.cwd or cwd
            case facts.ToolCalled():
                calls[fact.tool_call_id] = fact
            case facts.SubagentStarted() if fact.tool_call_id:
                spawned.add(fact.tool_call_id)
                yield Told(fact.tool_call_id, "task_spawned", {"agent_type": fact.agent_type})
            case facts.PlanUpdated():
                yield Told(fact.key.partition(":")[2], "plan_updated", Counter(item.status for item in fact.items))
            case facts.ToolFinished() if call := calls.get(fact.tool_call_id):
                for event in derive(finished_command(call, fact, cwd), rules):
                    if event.event_type != "task_spawned" or call.tool_call_id not in spawned:
                        yield Told(call.tool_call_id, event.event_type, event.data)


def finished_command(call: facts.ToolCalled, end: facts.ToolFinished, cwd: str | None) -> FinishedCommand:
    return FinishedCommand(
        tool=call.tool,
        parameters=call.parameters,
        result=end.result,
        outcome=end.outcome,
        error=end.error,
        cwd=cwd,
        tool_call_id=call.tool_call_id,
    )


def compare(labelled: Iterable[Told], told: Iterable[Told]) -> Comparison:
    """Match each derived event with a label of its command and type that it agrees with."""
    waiting = list(labelled)
    right: list[Told] = []
    false: list[Told] = []
    for event in told:
        label = next((each for each in waiting if each[:2] == event[:2] and agrees(each.data, event.data)), None)
        if label is None:
            false.append(event)
        else:
            waiting.remove(label)
            right.append(event)
    return Comparison(tuple(right), tuple(false), tuple(waiting))


def agrees(label: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Whether an event says everything its label says; a change labelled "any" was not told by the recording."""
    for name, wanted in label.items():
        if name == "files":
            got = {file["path"]: file["change"] for file in data.get("files", [])}
            if got.keys() != wanted.keys() or any(wanted[path] not in ("any", got[path]) for path in got):
                return False
        elif name == "failing":
            if sorted(data.get("failing", [])) != sorted(wanted):
                return False
        elif (data.get(name) or None) != (wanted or None):
            return False
    return True


def measure(recordings: Path, labels: Iterable[Labels], rules: Rules | None = None) -> dict[str, Comparison]:
    """The comparison of each labelled recording, by the labels' name."""
    return {each.name: compare(each.events, derived(read_facts(each, recordings), rules)) for each in labels}


def together(comparisons: Iterable[Comparison]) -> Comparison:
    """Several comparisons as one."""
    several = list(comparisons)
    return Comparison(
        tuple(event for each in several for event in each.right),
        tuple(event for each in several for event in each.false),
        tuple(event for each in several for event in each.missed),
    )


def table(found: Mapping[str, Comparison]) -> str:
    """Per event type over all recordings, then per recording, as Markdown."""
    rows = ["| events | labelled | derived | right | precision | recall |", "|---|--:|--:|--:|--:|--:|"]
    for name, score in together(found.values()).scores().items():
        rows.append(_row(name, score))
    rows.append(_row("**all**", _sum(together(found.values()))))
    rows += ["", "| recording | labelled | derived | right | precision | recall |", "|---|--:|--:|--:|--:|--:|"]
    rows += [_row(name, _sum(comparison)) for name, comparison in found.items()]
    return "\n".join(rows)


def _sum(comparison: Comparison) -> Score:
    return Score(len(comparison.right), len(comparison.false), len(comparison.missed))


def _row(name: str, score: Score) -> str:
    shares = (f"{share:.3f}" if share is not None else "–" for share in (score.precision, score.recall))
    labelled, told = score.right + score.missed, score.right + score.false
    return f"| {name} | {labelled} | {told} | {score.right} | {' | '.join(shares)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="?", default=RECORDINGS)
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--quiet", action="store_true", help="the tables only")
    given = parser.parse_args()
    if not given.recordings.is_dir():
        print(f"no recordings at {given.recordings}; name their folder", file=sys.stderr)
        return 1
    found = measure(given.recordings, read_labels(given.labels))
    print(table(found))
    wrong: dict[str, list[str]] = defaultdict(list)
    for name, comparison in found.items():
        wrong[name] += [f"false  {event}" for event in comparison.false]
        wrong[name] += [f"missed {event}" for event in comparison.missed]
    for name, lines in wrong.items() if not given.quiet else ():
        print(*(f"{name}: {line}" for line in lines), sep="\n", end="\n" if lines else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
