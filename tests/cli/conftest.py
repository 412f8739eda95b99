"""The command line, run inside the test's process or as one of its own, against the test's database."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click
import pytest

from session_continuity.cli.app import root, run

INSTANCE = "consilio-PS-abc123"


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document of standard output."""
        return json.loads(self.out)


class Continuity(Protocol):
    """Runs `continuity` with these arguments."""

    def __call__(self, *arguments: str, stdin: str | bytes = b"") -> Answer: ...


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, no database yet, and a user without agents."""
    folder = tmp_path / "home"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONTINUITY_HOME", str(folder))
    monkeypatch.delenv("CONTINUITY_DSN", raising=False)
    return folder


@pytest.fixture
def offline(home: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Continuity:
    """The command line without a database."""

    def call(*arguments: str, stdin: str | bytes = b"") -> Answer:
        content = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))
        capsysbinary.readouterr()
        code = run(arguments)
        out, err = capsysbinary.readouterr()
        return Answer(code, out.decode(), err.decode())

    return call


@pytest.fixture
def continuity(offline: Continuity, database: str, monkeypatch: pytest.MonkeyPatch) -> Continuity:
    """The command line with the test's database."""
    monkeypatch.setenv("CONTINUITY_DSN", database)
    return offline


@pytest.fixture
def process(home: Path) -> Continuity:
    """`python -m session_continuity` as a process of its own; its database is that of the environment."""

    def call(*arguments: str, stdin: str | bytes = b"") -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "session_continuity", *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=60,
            check=False,
            env=dict(os.environ),
        )
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


@pytest.fixture
def session(continuity: Continuity) -> str:
    """A registered session."""
    answer = continuity("sessions", "register", "consilio-s", "--instance-id", INSTANCE, "--json")
    assert answer.code == 0, answer
    return INSTANCE


def leaves(
    group: click.Group = root, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command
