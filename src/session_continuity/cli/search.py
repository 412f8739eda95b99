"""continuity search: words across the records."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from session_continuity.cli.arguments import Call, Command, before_option, limit_option, pass_call, project_option
from session_continuity.cli.output import write_note, write_table
from session_continuity.domain.measures import ago
from session_continuity.domain.paging import write_place

if TYPE_CHECKING:
    from session_continuity.domain.search import Found

KINDS = click.Choice(["session", "event", "command", "checkpoint"])

_CATCH_UP = 50
"""Batches of the index that are made first where no resident server makes them."""


@click.command(
    "search",
    cls=Command,
    examples=(
        "continuity search test_total",
        "continuity search '\"rounds once\" cart* -invoice' --kind command --json",
    ),
)
@click.argument("query", nargs=-1, required=True)
@click.option("--kind", "kinds", type=KINDS, multiple=True, help="Only these; may be repeated.")
@click.option("--instance", "instance_id", help="Only of this instance.")
@project_option
@before_option
@limit_option(50)
@pass_call
def search(call: Call, query: tuple[str, ...], kinds: tuple[Any, ...], **asked: Any) -> None:
    """Find words in sessions, events, commands and checkpoints, the latest first.

    All words of QUERY must be there: "two words" side by side, -word not, begin* the beginning of a word, OR
    between two takes either.
    """
    from session_continuity.capture.serving import find_resident

    if find_resident(call.settings.home) is None:
        for _ in range(_CATCH_UP):
            if not call.client.index_records(all_sessions=True).more:
                break
    found = call.client.search_records(" ".join(query), kinds=kinds or None, **asked)
    call.answer([asdict(one) for one in found], lambda: _show(found, asked["limit"]))


def _show(found: list[Found], limit: int) -> None:
    write_table(
        ("when", "instance_id", "kind", "number", "what", "where"),
        [
            (
                ago(one.at),
                one.instance_id,
                one.kind,
                one.reference or None,
                one.title,
                "".join(f"[{text}]" if is_word else text for text, is_word in one.snippet),
            )
            for one in found
        ],
        nothing="nothing found",
    )
    if len(found) == limit:
        write_note(f"more: --before {write_place(found[-1].at, found[-1].document_id)}")
