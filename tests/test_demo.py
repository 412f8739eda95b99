"""The README's first command does the main job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_demo_records_dies_resumes_and_fences() -> None:
    home = Path(tempfile.mkdtemp(prefix="continuity-", dir="/tmp"))
    home.chmod(0o755)
    environment = {**os.environ, "CONTINUITY_HOME": str(home)}
    try:
        done = subprocess.run(
            [sys.executable, "demo/run.py"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for expected in (
            "kill -9: the recording process died after",
            "Retry-After in whole seconds, never 0",  # the last prompt
            "in_progress: Send Retry-After",
            "Commands of unknown outcome",
            "was taken over by",
            "exit code 5: refused",
        ):
            assert expected in done.stdout
    finally:
        subprocess.run(
            [sys.executable, "-m", "session_continuity", "db", "stop"], env=environment, capture_output=True
        )
        shutil.rmtree(home, ignore_errors=True)
