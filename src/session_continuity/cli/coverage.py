"""continuity coverage: whether the hooks of a session saw what its own recording tells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import Call, Command, instance_argument, pass_call
from session_continuity.cli.output import write_note, write_table

if TYPE_CHECKING:
    from session_continuity.capture.recorder.coverage import CoverageReport

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, examples=("continuity coverage consilio-PS-abc123 --json",))
@instance_argument
@click.option("--transcript", type=FILE, help="The agent's own recording (default: the one its hooks named).")
@pass_call
def coverage(call: Call, instance_id: str, transcript: Path | None) -> None:
    """Compare what the hooks of a session saw with its own recording, in both directions."""
    from session_continuity.capture.recorder.coverage import compare_coverage

    report = compare_coverage(call.client, instance_id, transcript)
    call.answer(report, lambda: _show(report))


def _show(report: CoverageReport) -> None:
    rows = [
        (kind, covered.both, len(covered.hooks_only), len(covered.transcript_only))
        for kind, covered in report.kinds.items()
    ]
    write_table(("what", "both", "hooks only", "recording only"), rows, nothing="nothing to compare")
    missed = [
        (kind, side, shown)
        for kind, covered in report.kinds.items()
        for side, several in (("hooks", covered.hooks_only), ("recording", covered.transcript_only))
        for shown in several
    ]
    if missed:
        write_table(("what", "only in", "which"), missed, nothing="")
    if report.missing:
        write_note(f"{report.missing} are not stored; `continuity import` of {report.transcript} fills them")
