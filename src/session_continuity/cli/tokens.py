"""continuity tokens: who may ask the resident server over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from session_continuity.cli.arguments import DURATION, Call, Group, pass_call
from session_continuity.cli.output import write_note, write_table, write_text

if TYPE_CHECKING:
    from datetime import timedelta

SCOPES = click.Choice(["read", "write", "admin", "capture"])


@click.group(cls=Group)
def tokens() -> None:
    """Create, list and revoke the tokens of the HTTP server."""


@tokens.command(
    "create",
    examples=(
        "continuity tokens create --scope write --project shop --expires 30d --name build",
        "continuity tokens create --scope capture > capture.token",
    ),
)
@click.option(
    "--scope",
    "scopes",
    type=SCOPES,
    multiple=True,
    required=True,
    help="What it admits to; may be repeated. admin includes write, write includes read.",
)
@click.option(
    "--project",
    "projects",
    multiple=True,
    help="Only sessions of this project; may be repeated. Without it all projects.",
)
@click.option("--expires", type=DURATION, help="Valid for this long, like 30d. Without it until it is revoked.")
@click.option("--name", help="What to call it in the list, and to revoke it by.")
@pass_call
def create(
    call: Call, scopes: tuple[str, ...], projects: tuple[str, ...], expires: timedelta | None, name: str | None
) -> None:
    """Create a token and print it: it is shown this once and kept as a hash."""
    from session_continuity.web.tokens import TokenFile

    text, made = TokenFile(call.settings.home).create(scopes, name=name, projects=projects, lifetime=expires)

    def show() -> None:
        write_text(text)
        write_note(f"token {made.name or made.id}: {', '.join(made.scopes)}; it is not shown again")

    call.answer({"token": text, **asdict(made)}, show)


@tokens.command("list", examples=("continuity tokens list",))
@pass_call
def list_tokens(call: Call) -> None:
    """List the tokens, what they admit to and when they were used last."""
    from session_continuity.web.tokens import TokenFile

    found = TokenFile(call.settings.home).known()
    columns = ("id", "name", "scopes", "projects", "created_at", "expires_at", "last_used_at", "valid")

    def show() -> None:
        rows = [
            (
                each.id,
                each.name,
                ", ".join(each.scopes),
                "all" if each.projects is None else ", ".join(each.projects),
                each.created_at,
                each.expires_at,
                each.last_used_at,
                each.valid,
            )
            for each in found
        ]
        write_table(columns, rows, nothing="no tokens")

    call.answer(found, show)


@tokens.command("revoke", examples=("continuity tokens revoke build",))
@click.argument("name", metavar="NAME")
@pass_call
def revoke(call: Call, name: str) -> None:
    """Revoke the token of that id or name: from the next request on it admits to nothing."""
    from session_continuity.web.tokens import TokenFile

    gone = TokenFile(call.settings.home).revoke(name)
    call.answer({"revoked": gone.id}, lambda: write_note(f"revoked {gone.name or gone.id}"))
