"""A process that drains a spool into a database until nothing waits.

`python drainer.py SPOOL DSN once|doubling [SECONDS]`: prints the number stored and the seconds that it took. With
SECONDS the kernel kills it so long after it was connected, wherever it is then.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from tests.capture.hooking import event_store

from session_continuity import SessionContinuity
from session_continuity.capture.spool import drain as module
from session_continuity.capture.spool.spool import Spool

if __name__ == "__main__":
    module.BATCH_RECORDS = 20
    spool = Spool(Path(sys.argv[1]))
    with SessionContinuity(dsn=sys.argv[2]) as client:
        client.find_sessions(limit=1)
        store = event_store(client, once=sys.argv[3] == "once")
        began = time.monotonic()
        if len(sys.argv) > 4:
            signal.setitimer(signal.ITIMER_REAL, float(sys.argv[4]))  # nobody handles the signal: it kills
        stored = module.drain(spool, store, wait=60).stored
        print(stored, time.monotonic() - began)
