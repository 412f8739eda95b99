"""Records a session while it is replayed, the way an agent's own recorder would: each record is durable before
the next one is read. Prints how many are, and of which session. Killed by demo/run.py in the middle."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from session_continuity import SessionContinuity
from session_continuity.capture.derivation import load_rules
from session_continuity.capture.facts import Problem
from session_continuity.capture.recorder import READERS, Recorder
from session_continuity.capture.transcripts import open_lines


def main(harness: str, path: str, pause: str) -> None:
    numbers = itertools.count(1)

    def lines():
        for line in open_lines(path):
            yield line
            print(next(numbers), recorder.instance_id, flush=True)
            time.sleep(float(pause))

    with SessionContinuity() as client:
        recorder = Recorder(client, project=None, fallback_id=Path(path).stem, rules=load_rules())
        for fact in READERS[harness](lines()):
            if not isinstance(fact, Problem):
                recorder.record(fact)
                recorder.flush()


main(*sys.argv[1:])
