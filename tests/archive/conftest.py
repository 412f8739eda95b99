"""Workers that kill themselves at an operation, again and again from the same start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.archive.aged import Connection
from tests.resident.conftest import wait_until


@dataclass
class Dying:
    """The process of tests/archive/dying.py."""

    process: subprocess.Popen[str]
    connection: Connection

    def run(self, work: str, at: int, home: Path, archive_format: str) -> tuple[int, int]:
        """The exit code, and how many operations the work took if it was not killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(work, at, home, archive_format, file=self.process.stdin, flush=True)
        code, operations = self.process.stdout.readline().split()
        return int(code), int(operations)

    def kill_at_each(
        self,
        work: str,
        home: Path,
        archive_format: str,
        every: int,
        *,
        start: Callable[[], None],
        check: Callable[[int], None],
    ) -> None:
        """Do the work once to its end, then kill it at each operation, or `every` so many; `start` makes the state
        that it begins with, `check` looks at the one that it left."""
        start()
        code, operations = self.run(work, -1, home, archive_format)
        assert (code, operations > 20) == (0, True)
        check(-1)
        killed = 0
        for at in range(0, operations, every):
            start()
            code, _ = self.run(work, at, home, archive_format)
            if code == 0:  # a run may take an operation less than the first
                break
            assert code == -signal.SIGKILL
            killed += 1
            wait_until(lambda: others_connected(self.connection) <= 1)
            check(at)
        print(f"{work}: killed at {killed} of {operations} operations")
        assert killed > 0.8 * operations / every


@pytest.fixture
def dying(database: str, connection: Connection) -> Iterator[Dying]:
    words = [sys.executable, "-m", "tests.archive.dying", database]
    process = subprocess.Popen(
        words, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Dying(process, connection)
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)


def others_connected(connection: Connection) -> int:
    """The connections beside this one."""
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchone()
    return 0 if row is None else row[0]
