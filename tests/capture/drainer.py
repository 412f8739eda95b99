"""A process that drains a spool into a database until nothing waits.

`python drainer.py SPOOL DSN once|doubling`: prints a line when it is connected, and at its end
the number stored.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.capture.hooking import event_store

from session_continuity import SessionContinuity
from session_continuity.capture import drain as module
from session_continuity.capture.spool import Spool

if __name__ == "__main__":
    module.BATCH_RECORDS = 20
    spool = Spool(Path(sys.argv[1]))
    with SessionContinuity(dsn=sys.argv[2]) as client:
        client.find_sessions(limit=1)
        print("begin", flush=True)
        store = event_store(client, once=sys.argv[3] == "once")
        print(module.drain(spool, store, wait=60).stored, flush=True)
