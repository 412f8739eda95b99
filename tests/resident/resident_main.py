"""A resident process with the small store: `python resident_main.py serve HOME DSN [HOST...]`, or
`python resident_main.py forward HOME URL TOKEN`. Prints its URL when it is ready.

DSN `-` is the embedded server of the home, `stuck` a store that never ends.
"""

from __future__ import annotations

import sys
import threading

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
        elif role == "stuck":
            settings = load_settings(home=home, dsn=words[0], deadline_seconds=10.0)
            resident.serve(settings, open_store=stuck_store, ready=ready)
        else:
            url, token = words
            settings = load_settings(home=home)
            resident.forward(settings, Destination.of(url, token), redact=lambda value: value, ready=ready)
    except SessionContinuityError as error:
        print(error.message, file=sys.stderr)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
