"""Recall of the brief: does it name what mattered when the recording was cut?

    python bench/recall.py FOLDER [--tokens 2000]

Each Claude Code and Codex recording below FOLDER is cut at five points and imported as if the agent had died
there. What mattered is read from the recording itself, not from the store: the last prompt, the open plan items,
the last five files touched, the last failing command, the last commit, the command in flight. A thing counts as
named when the brief holds its distinctive beginning.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from session_continuity import SessionContinuity
from session_continuity.briefing import brief_continuation
from session_continuity.capture.facts import facts
from session_continuity.capture.facts.transcripts import detect, open_lines
from session_continuity.capture.harnesses.readers import READERS
from session_continuity.capture.recorder.transcript_import import import_transcript
from session_continuity.deployment import Deployment
from session_continuity.domain.text import printable
from session_continuity.settings import load_settings

CUTS = (0.2, 0.4, 0.6, 0.8, 1.0)
KINDS = ("last prompt", "open plan item", "file touched", "failing command", "last commit", "in flight")
EDITING_TOOLS = ("Edit", "Write", "MultiEdit", "NotebookEdit")
FILES = 5


@dataclass
class Truth:
    """What a recording holds up to a cut, in its own words."""

    prompt: str | None = None
    plan: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    failing: str | None = None
    commit: str | None = None
    open_calls: dict[str, str] = field(default_factory=dict)

    def named(self) -> list[tuple[str, str]]:
        """What the brief must name, as (kind, text)."""
        wanted = [("open plan item", item) for item in self.plan]
        wanted += [("file touched", path) for path in self.files[-FILES:]]
        wanted += [("in flight", call) for call in self.open_calls.values()]
        for kind, text in (
            ("last prompt", self.prompt),
            ("failing command", self.failing),
            ("last commit", self.commit),
        ):
            if text:
                wanted.append((kind, text))
        return wanted


def truth_of(harness: str, path: Path, until: int) -> Truth:
    """Read what mattered from the recording's own facts."""
    truth, calls, cwd = Truth(), {}, ""
    for fact in READERS[harness]().read(itertools.islice(open_lines(path), until)):
        match fact:
            case facts.SessionStarted() | facts.SessionChanged():
                cwd = fact.cwd or cwd
            case facts.PromptSubmitted():
                truth.prompt = fact.text
            case facts.PlanUpdated():
                truth.plan = [item.text for item in fact.items if item.status != "completed"]
            case facts.ToolCalled():
                calls[fact.tool_call_id] = fact
                truth.open_calls[fact.tool_call_id] = asked(fact)
            case facts.ToolFinished():
                truth.open_calls.pop(fact.tool_call_id, None)
                call = calls.pop(fact.tool_call_id, None)
                if call is not None:
                    finish(truth, call, fact, cwd)
    return truth


def finish(truth: Truth, call: facts.ToolCalled, end: facts.ToolFinished, cwd: str) -> None:
    path = call.parameters.get("file_path") or call.parameters.get("notebook_path")
    if call.tool in EDITING_TOOLS and end.outcome == "success" and isinstance(path, str):
        shown = path.removeprefix(cwd.rstrip("/") + "/")
        if shown in truth.files:
            truth.files.remove(shown)
        truth.files.append(shown)
    if end.outcome == "failure":
        truth.failing = asked(call)
    output = str(end.result)
    if "git commit" in asked(call) and (made := re.search(r"\[[^\]\n]+ ([0-9a-f]{7,12})\]", output)):
        truth.commit = made.group(1)


def asked(call: facts.ToolCalled) -> str:
    """The distinctive part of a call: its command line, its file, or its tool's name."""
    for name in ("command", "cmd", "file_path", "pattern", "query", "url", "description"):
        value = call.parameters.get(name)
        if isinstance(value, str) and value:
            return value
    return call.tool


def is_named(text: str, brief: str) -> bool:
    """Whether the first 60 characters of the text's first line stand in the brief's captured lines."""
    captured = "\n".join(line for line in brief.splitlines() if line.startswith(">"))
    first = next((line for line in text.strip().splitlines() if line.strip()), "")
    encoded = printable(first.replace("\t", "    ")).strip()[:60]
    escaped = encoded.replace("\\", "\\\\").replace('"', '\\"')
    return encoded in captured or escaped in captured


def measure(client: SessionContinuity, path: Path, *, tokens: int = 2_000) -> dict[str, list[tuple[bool, str]]]:
    """For each kind, whether each thing was named, with what it was."""
    harness = detect(path)
    assert harness is not None, path
    records = sum(1 for _ in open_lines(path))
    found: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    for share in CUTS:
        until = max(1, round(records * share))
        truth = truth_of(harness, path, until)
        try:
            report = import_transcript(client, harness, path, until=until, project=f"recall {path.stem[:40]}")
        except Exception as error:  # a cut before the first real record holds no session
            if getattr(error, "stable_code", "") == "transcript_empty":
                continue
            raise
        briefing = brief_continuation(client.preview_continuation(report.instance_id), budget=tokens)
        assert briefing.brief.tokens <= tokens
        for kind, text in truth.named():
            found[kind].append((is_named(text, briefing.brief.text), f"cut at {until} of {records}: {text[:100]}"))
    return found


def recordings(folder: Path) -> list[Path]:
    """The recordings that a reader knows."""
    return [path for path in sorted(folder.rglob("*.jsonl")) if detect(path) is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=2_000)
    arguments = parser.parse_args()
    total: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="continuity-", dir="/tmp") as home:
        Path(home).chmod(0o755)
        with SessionContinuity(home=home) as client:
            print("| recording | " + " | ".join(KINDS) + " |\n|" + "---|" * (len(KINDS) + 1))
            for path in recordings(arguments.folder):
                found = measure(client, path, tokens=arguments.tokens)
                print(f"| {path.stem[:40]} | " + " | ".join(share(found[kind]) for kind in KINDS) + " |")
                for kind, answers in found.items():
                    total[kind] += answers
                    for named, what in answers:
                        if not named:
                            print(f"missed in {path.name}: {kind}: {what!r}", file=sys.stderr)
            print("| **all** | " + " | ".join(share(total[kind]) for kind in KINDS) + " |")
    Deployment(load_settings(home=home)).stop()
    return 0


def share(answers: list[tuple[bool, str]]) -> str:
    return f"{sum(named for named, _ in answers)} of {len(answers)}" if answers else "–"


if __name__ == "__main__":
    sys.exit(main())
