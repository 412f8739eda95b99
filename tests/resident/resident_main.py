"""A resident process with the small store: `python resident_main.py serve HOME DSN [HOST...]`, or
`python resident_main.py forward HOME URL TOKEN`. Prints its URL when it is ready.

DSN `-` is the embedded server of the home. In place of `serve` a store with a fault can be named: `stuck`, `dying`,
`dying and forgetful`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from tests.resident.small_store import small_store

from session_continuity import SessionContinuityError, resident
from session_continuity.capture.forwarding import Destination
from session_continuity.cli.failures import exit_code
from session_continuity.settings import load_settings


def stuck_store(client):
    def store(records):
        print("stuck", flush=True)
        threading.Event().wait()

    return store


def dying_store(by_name: bool, home: str):
    """A store whose process is killed as soon as it has stored a batch, the first time."""

    def open_store(client):
        inner = small_store(client, by_name=by_name)

        def store(records):
            verdicts = inner(records)
            if not Path(home, "died").exists():
                Path(home, "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return verdicts

        return store

    return open_store


STORES = {
    "stuck": lambda home: stuck_store,
    "dying": lambda home: dying_store(True, home),
    "dying and forgetful": lambda home: dying_store(False, home),
}


def main(role: str, home: str, *words: str) -> None:
    def ready(url: str) -> None:
        print(url, flush=True)

    try:
        if role == "serve":
            dsn, *hosts = words
            settings = load_settings(
                home=home, dsn=None if dsn == "-" else dsn, serve_hosts=tuple(hosts), deadline_seconds=10.0
            )
            resident.serve(settings, open_store=small_store, ready=ready)
        elif role in STORES:
            settings = load_settings(home=home, dsn=words[0], deadline_seconds=10.0)
            resident.serve(settings, open_store=STORES[role](home), ready=ready)
        else:
            url, token = words
            settings = load_settings(home=home)
            resident.forward(settings, Destination.of(url, token), redact=lambda value: value, ready=ready)
    except SessionContinuityError as error:
        print(error.message, file=sys.stderr)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
