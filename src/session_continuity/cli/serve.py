"""continuity serve, continuity forward: the resident process of a data folder."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import click

from session_continuity.cli.arguments import Call, Command, pass_call, read_stdin
from session_continuity.cli.output import write_fields, write_note
from session_continuity.domain.measures import ago

if TYPE_CHECKING:
    from collections.abc import Sequence

    from session_continuity.capture.serving import Resident
    from session_continuity.settings import Settings

READY_SECONDS = 30.0


@click.command(
    "serve",
    cls=Command,
    examples=(
        "continuity serve --detach",
        "continuity serve --status --json",
        "continuity serve --host 0.0.0.0 --allow-host build.example:27182",
    ),
)
@click.option("--host", metavar="ADDRESS", help="Listen on this address (or the setting serve_host).")
@click.option("--port", type=click.IntRange(0, 65_535), help="Listen on this port (or the setting serve_port).")
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME",
    multiple=True,
    help="Answer under this name, too; may be repeated (or the setting serve_hosts).",
)
@click.option("--detach", is_flag=True, help="Start it in the background.")
@click.option("--status", is_flag=True, help="Show who serves, how that goes, and what waits; starts nothing.")
@click.option("--stop", is_flag=True, help="End the resident process; nothing is lost.")
@pass_call
def serve(
    call: Call,
    host: str | None,
    port: int | None,
    allow_hosts: tuple[str, ...],
    detach: bool,
    status: bool,
    stop: bool,
) -> None:
    """Run the resident server: it drains the spool and takes captures of other machines."""
    if detach + status + stop > 1:
        raise click.UsageError("--detach, --status and --stop exclude each other.")
    if status:
        _show_status(call)
    elif stop:
        from session_continuity.resident_process import stop_resident

        stopped = stop_resident(call.settings.home)
        call.answer({"stopped": stopped}, lambda: write_note("stopped" if stopped else "it was not running"))
    elif detach:
        _detach(call, host, port, allow_hosts)
    else:
        _serve(call, _settings(call, host, port, allow_hosts))


@click.command(
    "forward",
    cls=Command,
    examples=("continuity forward --to https://build.example --token-stdin < token",),
)
@click.option("--to", "url", metavar="URL", required=True, help="Resident server to forward to.")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input (else CONTINUITY_TOKEN).")
@click.option("--plain-http", is_flag=True, help="Allow http to another machine: its network can read everything.")
@pass_call
def forward(call: Call, url: str, token_stdin: bool, plain_http: bool) -> None:
    """Forward this machine's spool to the resident server of another."""
    import gc

    from session_continuity.capture.spool.forwarding import Destination

    token = read_stdin("token") if token_stdin else os.environ.get("CONTINUITY_TOKEN", "")
    if not token.strip():
        raise click.UsageError("the token is missing: --token-stdin reads it, or set CONTINUITY_TOKEN.")
    destination = Destination.of(url, token.strip(), plain=plain_http)
    from session_continuity.capture.redaction.redaction import Redactor
    from session_continuity.resident import forward as run

    gc.enable()  # the command line turns it off, but this one runs for long
    redactor = Redactor(call.settings)
    run(
        call.settings,
        destination,
        redact=redactor.redact,
        ready=lambda url: write_note(f"forwarding to {url}; Ctrl+C ends it"),
    )
    call.answer({"stopped": True}, lambda: write_note("stopped"))


def _serve(call: Call, settings: Settings) -> None:
    import gc

    from session_continuity.resident import serve as run

    gc.enable()  # the command line turns it off, but this one runs for long
    run(settings, ready=lambda url: write_note(f"serving on {url}; Ctrl+C ends it"))
    call.answer({"stopped": True}, lambda: write_note("stopped"))
    # Python would wait for a thread that asks a database which hangs, for somebody who has gone.
    if any(thread is not threading.current_thread() and not thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        os._exit(0)


def _detach(call: Call, host: str | None, port: int | None, allow_hosts: tuple[str, ...]) -> None:
    given = {"--host": host, "--port": port}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    options += [word for name in allow_hosts for word in ("--allow-host", name)]
    found = serving(call, _settings(call, host, port, allow_hosts), options)
    call.answer(found, lambda: write_note(f"process {found.pid} serves on {found.url}"))


def serving(call: Call, settings: Settings | None = None, options: Sequence[str] = ()) -> Resident:
    """The resident process, started in the background when there is none. Raises Unavailable when it does not
    come up."""
    from session_continuity.capture.serving import find_resident, start_detached
    from session_continuity.resident_process import wait_for_resident

    settings = settings or call.settings
    found = find_resident(settings.home)
    if found is None:
        found = wait_for_resident(settings.home, start_detached(settings, options), READY_SECONDS)
    return found


def _show_status(call: Call) -> None:
    from session_continuity.capture.serving import find_resident
    from session_continuity.capture.spool.spool import FOLDER, open_spool

    resident = find_resident(call.settings.home)
    spool = open_spool(call.settings).status() if (call.settings.home / FOLDER).exists() else None
    answer = {
        "running": resident is not None,
        "resident": resident,
        "home": call.settings.home,
        "spool": spool,
    }

    def show() -> None:
        fields = resident.as_json() if resident is not None else {}
        fields.pop("process_start", None)
        if spool is not None:
            oldest = f", the oldest {ago(spool.oldest)}" if spool.oldest else ""
            fields["waiting"] = f"{spool.waiting:,} records{oldest}"
            fields |= {"quarantined": spool.quarantined, "lost": spool.lost, "spool full": spool.full}
        write_fields({"running": resident is not None, "home": call.settings.home, **fields})

    call.answer(answer, show)


def _settings(call: Call, host: str | None, port: int | None, allow_hosts: tuple[str, ...]) -> Settings:
    from session_continuity.settings import load_settings

    given: dict[str, Any] = {"serve_host": host, "serve_port": port, "serve_hosts": allow_hosts or None}
    return load_settings(**call.options, **given)
