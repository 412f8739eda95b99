"""A hook of one tool call, against a bare interpreter; and the roads that were not taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Bench

ROUNDS = 200
BARE = [os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"]
PAYLOAD = json.dumps({"session_id": "s", "tool_name": "Bash", "tool_input": {"command": "x" * 2_000}}).encode()

MKTEMP = """umask 077
t=$(mktemp "$1/.$2@$3@$PPID@XXXXXXXXXXXX") && cat > "$t" && mv "$t" "$1/${t##*/.}"
"""
PYTHON = """import os, sys
spool, harness, event = sys.argv[1:]
name = f"{harness}@{event}@{os.getppid()}@{os.getpid()}-{os.urandom(16).hex()}"
file = os.open(f"{spool}/.{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
while part := os.read(0, 1 << 20):
    os.write(file, part)
os.close(file)
os.rename(f"{spool}/.{name}", f"{spool}/{name}")
"""


def run(bench: Bench) -> None:
    from session_continuity.capture.hook.command import hook_command
    from session_continuity.settings import load_settings

    rounds = bench.options.rows(ROUNDS, 20)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(home=folder)
        spool, environment = settings.home / "spool", {"PATH": os.environ["PATH"]}
        (spool / "lost").mkdir(parents=True)
        (Path(folder) / "mktemp.sh").write_text(MKTEMP)
        (Path(folder) / "spool.py").write_text(PYTHON)
        told = [str(spool), "claude-code", "PreToolUse"]

        def once(words: list[str]):
            def run(_: float) -> float:
                begin = time.perf_counter()
                subprocess.run(words, input=PAYLOAD, env=environment, check=True)
                return time.perf_counter() - begin

            return run

        figures = bench.measure(
            {
                "bare interpreter": once(BARE),
                "quick": once(hook_command(settings, "claude-code", "PreToolUse")),
                "flush": once(hook_command(settings, "claude-code", "Stop")),
                "mktemp": once(["/bin/sh", f"{folder}/mktemp.sh", *told]),
                "python": once([*BARE[:3], f"{folder}/spool.py", *told]),
            },
            rounds=rounds,
        )
        kept = len([name for name in os.listdir(spool) if "@" in name and name[0] != "."])
        bench.check("each hook kept its record", kept == 4 * (rounds + 1), f"{4 * (rounds + 1)} records")
    bench.compare("per-tool hook, record kept, time", figures, "quick", "bare interpreter", at_most=1.25)
    bench.compare("hook with its record flushed to disk, time", figures, "flush", "bare interpreter")
    bench.compare("not taken: sh with mktemp, time", figures, "mktemp", "bare interpreter")
    bench.compare("not taken: python -I -S with os alone, time", figures, "python", "bare interpreter")
