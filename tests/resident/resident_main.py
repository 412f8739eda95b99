"""A resident process with the small store: `python resident_main.py serve HOME DSN`, or
`python resident_main.py forward HOME URL TOKEN`. Prints its URL when it is ready.

DSN `-` is the embedded server of the home. In place of `serve` may stand `live`, which is what users have, or a
store with a fault: `stuck`, `dying`, `dying and forgetful`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from tests.resident.small_store import SmallStore

from session_continuity import SessionContinuityError, resident
from session_continuity.capture.spool.forwarding import Destination
from session_continuity.cli.failures import exit_code
from session_continuity.settings import load_settings


class StuckStore(SmallStore):
    """Never comes to an end."""

    def store(self, records):
        print("stuck", flush=True)
        threading.Event().wait()


class DyingStore(SmallStore):
    """Its process is killed as soon as it has stored a batch, the first time."""

    def store(self, records):
        verdicts = super().store(records)
        died = self._client.settings.home / "died"
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return verdicts


STORES = {
    "live": None,
    "serve": SmallStore,
    "stuck": StuckStore,
    "dying": DyingStore,
    "dying and forgetful": lambda client: DyingStore(client, by_name=False),
}


def main(role: str, home: str, *words: str) -> None:
    def ready(url: str) -> None:
        print(url, flush=True)

    try:
        if role in STORES:
            (dsn,) = words
            settings = load_settings(home=home, dsn=None if dsn == "-" else dsn, deadline_seconds=10.0)
            resident.serve(settings, open_capture=STORES[role], ready=ready)
        else:
            url, token = words
            settings = load_settings(home=home)
            resident.forward(settings, Destination.of(url, token), redact=lambda value: value, ready=ready)
    except SessionContinuityError as error:
        print(error.message, file=sys.stderr)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
