"""Starting the command line, against a bare interpreter."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time

from harness import Bench, Figures

BARE = [sys.executable, "-I", "-S", "-c", "pass"]
CONTINUITY = [sys.executable, "-m", "session_continuity"]


def run(bench: Bench) -> None:
    if importlib.util.find_spec("session_continuity.__main__") is None:
        bench.skip("continuity --help, a --json command", "no command line yet")
        return
    with bench.server.database("startup", "library") as dsn:
        environment = os.environ | {"CONTINUITY_DSN": dsn, "PYTHONDONTWRITEBYTECODE": ""}

        def start(command: list[str], turns: int = 10):
            def run(_: float) -> float:
                begin = time.perf_counter()
                for _ in range(turns):
                    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
                return (time.perf_counter() - begin) / turns

            return run

        figures: Figures = bench.measure(
            {
                "bare interpreter": start(BARE),
                "help": start([*CONTINUITY, "--help"]),
                "json": start([*CONTINUITY, "--json", "sessions", "list"]),
            }
        )
        bench.compare("continuity --help, time", figures, "help", "bare interpreter", at_most=8)
        bench.compare("continuity --json sessions list, time", figures, "json", "bare interpreter", at_most=25)
