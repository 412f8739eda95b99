"""Runs the command line: `continuity`, or `python -m session_continuity`."""

import gc
import sys


def main() -> int:
    """Run the command that the process was started with; returns its exit code."""
    gc.disable()  # a tenth of a command's start-up; imports, which run for long, turn it on again
    try:
        from session_continuity.cli.app import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
