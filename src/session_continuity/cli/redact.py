"""continuity redact: what redaction would take out, without ever showing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from session_continuity.cli.arguments import Call, Group, pass_call
from session_continuity.cli.output import write_note, write_table

if TYPE_CHECKING:
    from session_continuity.capture.facts.facts import JSON

FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_SHOWN_PLACE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A secret that would be taken out: its line, where in the line's JSON value it stands (keys are redacted,
    too), type and tag, and how often it stands there."""

    line: int
    place: str
    type: str
    tag: str
    times: int


@click.group(cls=Group)
def redact() -> None:
    """Check what would be taken out of a file before it is stored."""


@redact.command(
    "check",
    examples=("continuity redact check session.jsonl", "continuity redact check - --json < .env"),
)
@click.argument("file", type=FILE)
@pass_call
def check_file(call: Call, file: Path) -> None:
    """Say what would be redacted in FILE (JSON, JSON lines or text; - for standard input), without showing it.

    Secrets of the same tag are equal.
    """
    from session_continuity.capture.redaction.redaction import Redactor

    redactor = Redactor(call.settings)
    found = [
        finding
        for line, value in _values(file)
        for finding in _findings(line, value, redactor.redact(value))
    ]  # fmt: skip
    engine = redactor.engine is not None
    counts = Counter[str]()
    for finding in found:
        counts[finding.type] += finding.times
    answer = {"full_engine": engine, "counts": dict(counts), "findings": [asdict(finding) for finding in found]}
    call.answer(answer, lambda: _show(found, engine))


def _show(found: list[Finding], engine: bool) -> None:
    write_table(
        ("line", "place", "type", "tag", "times"),
        [(one.line, one.place, one.type, one.tag, one.times) for one in found],
        nothing="nothing would be redacted",
    )
    if not engine:
        write_note(
            "only the common forms were looked for; `pip install session-continuity[secrets]` adds the engine"
        )


def _values(file: Path) -> Iterator[tuple[int, JSON]]:
    """The lines' JSON values, or the whole as one: JSON or text."""
    import orjson

    content = click.open_file(str(file), "rb").read()
    lines: list[tuple[int, JSON]] = []
    try:
        yield 1, orjson.loads(content)
        return
    except orjson.JSONDecodeError:
        pass
    try:
        for number, line in enumerate(content.splitlines(), start=1):
            if line.strip():
                lines.append((number, orjson.loads(line)))
    except orjson.JSONDecodeError:
        lines = [(1, content.decode("utf-8", "replace"))]
    yield from lines


def _findings(line: int, before: JSON, after: JSON) -> Iterator[Finding]:
    """The placeholders that were not there before."""
    from session_continuity.capture.redaction.secret_names import PLACEHOLDER

    is_text = isinstance(before, str)
    for place, old, new in _changed(before, after):
        counted = Counter(match.groups() for match in PLACEHOLDER.finditer(new))
        counted.subtract(match.groups() for match in PLACEHOLDER.finditer(old))
        for (kind, tag), times in counted.items():
            if times > 0:
                at = new.find(f"[secret:{kind}:{tag}]")
                number = new.count("\n", 0, at) + 1 if is_text else line
                yield Finding(line=number, place=place[:_SHOWN_PLACE], type=kind, tag=tag, times=times)


def _changed(before: JSON, after: JSON) -> Iterator[tuple[str, str, str]]:
    """Where two values of the same shape have other texts: the place, and both texts."""
    pending: list[tuple[str, Any, Any]] = [("", before, after)]
    while pending:
        place, old, new = pending.pop()
        if isinstance(old, str) and old != new:
            yield place, old, new
        elif isinstance(old, list):
            items = enumerate(zip(cast("list[Any]", old), new, strict=True))
            pending += reversed([(f"{place}[{at}]", one, other) for at, (one, other) in items])
        elif isinstance(old, dict):
            pairs = list(zip(cast("dict[str, Any]", old).items(), new.items(), strict=True))
            for (old_name, _), (new_name, _) in pairs:
                if old_name != new_name:
                    yield f"{place}.{new_name} (key)", old_name, new_name
            pending += reversed([(f"{place}.{new_name}", one, other) for (_, one), (new_name, other) in pairs])
