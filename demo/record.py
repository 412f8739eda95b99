"""Records a session while it is replayed, the way an agent's own recorder would: each record is durable before
the next one is read. Prints how many are, and of which session. Killed by demo/run.py in the middle."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from session_continuity import SessionContinuity
from session_continuity.capture.derivation.derivation import load_rules
from session_continuity.capture.facts.facts import Problem, SessionStarted
from session_continuity.capture.facts.transcripts import open_lines
from session_continuity.capture.harnesses.readers import READERS
from session_continuity.capture.recorder.recorder import Recorder
from session_continuity.capture.recorder.transcript_import import register_imported


def main(harness: str, path: str, pause: str) -> None:
    numbers = itertools.count(1)
    recorder: Recorder | None = None

    def lines():
        for line in open_lines(path):
            yield line
            print(next(numbers), recorder and recorder.session.instance_id, flush=True)
            time.sleep(float(pause))

    with SessionContinuity() as client:
        for fact in READERS[harness]().read(lines()):
            if isinstance(fact, SessionStarted):
                session = register_imported(client, fact, fallback_id=Path(path).stem)
                recorder = Recorder(client, session, load_rules(), cwd=fact.cwd)
            elif recorder is not None and not isinstance(fact, Problem):
                recorder.record(fact)
                recorder.flush()


main(*sys.argv[1:])
