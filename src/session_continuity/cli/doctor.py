"""continuity doctor: every link of the chain from an agent's hook to the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import Call, Command, pass_call
from session_continuity.cli.failures import FAILED
from session_continuity.cli.init import current_place
from session_continuity.cli.output import write_note, write_table

if TYPE_CHECKING:
    from session_continuity.capture.setup.diagnosis import Link


@click.command(cls=Command, examples=("continuity doctor", "continuity doctor --json"))
@click.option("--no-probe", is_flag=True, help="Look only: send no record through the chain and start no server.")
@click.pass_context
@pass_call
def doctor(call: Call, ctx: click.Context, no_probe: bool) -> None:
    """Check every link from the hook to the row, and say what to do."""
    from session_continuity.capture.setup.diagnosis import Diagnosis, probe_links

    diagnosis = Diagnosis(call.settings, current_place("user"))
    links = diagnosis.links()
    if not no_probe:
        links += probe_links(call.client, diagnosis.set_up)
    sound = all(link.state != "broken" for link in links)
    call.answer({"sound": sound, "links": links}, lambda: _show(links))
    if not sound:
        ctx.exit(FAILED)


def _show(links: Sequence[Link]) -> None:
    rows = [(link.state, link.name, link.harness, link.found) for link in links]
    write_table(("state", "link", "agent", "found"), rows, nothing="nothing to check")
    for link in links:
        if link.remedy is not None:
            write_note(f"{link.state}: {link.found}; {link.remedy}")
