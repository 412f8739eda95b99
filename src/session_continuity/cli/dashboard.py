"""continuity dashboard: the live pages, opened signed in."""

from __future__ import annotations

import os
from urllib.parse import urlencode

import click

from session_continuity.cli.arguments import Call, Command, pass_call
from session_continuity.cli.output import is_terminal, write_note, write_text
from session_continuity.cli.person import person_option
from session_continuity.cli.serve import serving

SCOPES = click.Choice(["read", "write", "admin"])


@click.command(
    "dashboard",
    cls=Command,
    examples=(
        "continuity dashboard",
        "continuity dashboard --person 'Ada Byron' --scope read --project shop --no-open",
    ),
)
@person_option
@click.option("--scope", type=SCOPES, help="What it admits to (default: admin, with --project write).")
@click.option("--project", "projects", multiple=True, help="Only sessions of this project; may be repeated.")
@click.option("--no-open", is_flag=True, help="Print the link and open no browser.")
@pass_call
def dashboard(call: Call, person: str, scope: str | None, projects: tuple[str, ...], no_open: bool) -> None:
    """Open the dashboard, signed in by a link that works once.

    The link waits for five minutes. The server is started when none runs.
    """
    import sys

    from session_continuity.web.sign_in import SignIns

    code = SignIns(call.settings.home).create_link(
        person, scope=scope or ("write" if projects else "admin"), projects=projects
    )
    resident = serving(call)
    if resident.role != "serve":
        raise click.UsageError(f"this machine forwards to {resident.url}; run `continuity dashboard` there.")
    url = f"{resident.url}/sign-in?{urlencode({'code': code})}"
    opened = not no_open and not call.as_json and is_terminal(sys.stdout) and _open(url)

    def show() -> None:
        write_text(url)
        write_note("opened in the browser" if opened else "open it in a browser; it works once, for five minutes")

    call.answer({"url": url, "opened": opened}, show)


def _open(url: str) -> bool:
    import webbrowser

    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER")):
        return False
    return webbrowser.open(url)
