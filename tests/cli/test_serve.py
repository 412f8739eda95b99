"""continuity serve, continuity forward: the resident process of a data folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from session_continuity.capture.spool.spool import Spool
from session_continuity.postgres.embedded import EmbeddedServer

from .conftest import Continuity


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--status", "--stop"],
        ["serve", "--detach", "--stop"],
        ["serve", "--port", "65536"],
        ["serve", "--port", "http"],
        ["forward"],
        ["forward", "--to", "https://build.example"],
        ["forward", "--to", "ftp://build.example", "--token-stdin"],
        ["forward", "--to", "http://build.example", "--token-stdin"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(offline: Continuity, arguments: list[str], home: Path) -> None:
    answer = offline(*arguments, "--json", stdin="token\n")
    assert answer.code == 2, answer
    assert answer.document["message"]
    assert not home.exists()


def test_when_nobody_serves_it_says_so_and_makes_nothing(offline: Continuity, home: Path) -> None:
    status = offline("serve", "--status", "--json")
    assert (status.code, status.document["running"], status.document["spool"]) == (0, False, None)
    assert offline("serve", "--stop", "--json").document == {"stopped": False}
    assert "no" in offline("serve", "--status").out
    assert not home.exists()


def test_what_waits_is_shown(offline: Continuity, home: Path) -> None:
    spool = Spool(home / "spool")
    spool.put("codex", "Stop", b"{}")
    spool.count_loss("codex", "Stop")
    shown = offline("serve", "--status", "--json").document["spool"]
    assert (shown["waiting"], shown["lost"], shown["quarantined"], shown["full"]) == (1, 1, 0, False)
    assert "1 records, the oldest" in offline("serve", "--status").out


def test_a_server_beyond_loopback_is_refused_without_a_token(offline: Continuity) -> None:
    answer = offline("serve", "--host", "0.0.0.0", "--allow-host", "build.example", "--json")
    assert (answer.code, answer.document["error"]) == (1, "exposed")


def test_it_is_started_detached_shown_and_stopped(process: Continuity, home: Path) -> None:
    """The whole way with the embedded server, by processes that end at once."""
    started = process("serve", "--detach", "--json")
    assert started.code == 0, started
    resident = started.document
    try:
        assert process("serve", "--detach", "--json").document["pid"] == resident["pid"]
        status = process("serve", "--status", "--json").document
        assert status["running"]
        assert status["resident"]["pid"] == resident["pid"]
        assert resident["url"] in process("serve", "--status").out
        foreground = process("serve", "--json")
        assert (foreground.code, foreground.document["error"]) == (5, "already_serving")
        assert str(resident["pid"]) in foreground.document["message"]
        assert process("serve", "--stop", "--json").document == {"stopped": True}
        assert not process("serve", "--status", "--json").document["running"]
    finally:
        process("serve", "--stop")
        EmbeddedServer(home).stop()


def test_in_the_foreground_it_ends_with_one_document(home: Path) -> None:
    serving = subprocess.Popen(
        [sys.executable, "-m", "session_continuity", "serve", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        assert serving.stderr is not None
        assert "serving on http://127.0.0.1:" in serving.stderr.readline()
        serving.send_signal(signal.SIGINT)
        out, _ = serving.communicate(timeout=5)
        assert (serving.returncode, json.loads(out)) == (0, {"stopped": True})
    finally:
        serving.kill()
        EmbeddedServer(home).stop()
