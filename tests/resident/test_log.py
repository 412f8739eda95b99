"""The log of the resident process: JSON lines, turned over by size, without captured text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.resident.conftest import Residents, ask, wait_until

from session_continuity import SessionContinuity

CODE = """
import logging, os, sys
from pathlib import Path
import structlog
from session_continuity import resident_log

os.umask(0o077)
resident_log.LARGEST_FILE = 20_000
resident_log.open_log(Path(sys.argv[1]))
log = structlog.get_logger("session_continuity.resident")
for number in range(2_000):
    log.info("working", number=number)
log.debug("hidden")
logging.getLogger("uvicorn.error").info("hidden")
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
foreign = logging.getLogger("uvicorn.error")
for told in (log.error, foreign.error):
    try:
        raise ValueError("hunter2")
    except ValueError as error:
        told("failing", exc_info=error)
"""


def test_it_is_turned_over_and_keeps_the_words_of_exceptions_out(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "serve.log"
    done = subprocess.run([sys.executable, "-c", CODE, str(file)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "serve.log",
        "serve.log.1",
        "serve.log.2",
        "serve.log.3",
    ]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(path.stat().st_size <= 20_000 for path in file.parent.iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in file.parent.iterdir())
    assert "hunter2" not in file.read_text()
    assert [line["event"] for line in lines[-3:]] == ["Invalid HTTP request received.", "failing", "failing"]
    for line in lines[-2:]:
        assert (line["level"], line["exception"]) == ("error", "ValueError")
        assert line["passed"]
    assert "hidden" not in {line["event"] for line in lines}


def test_the_lines_of_a_request_and_of_a_pass_can_be_told_from_others(residents: Residents, database: str) -> None:
    running = residents.serve(database, role="live")
    file = running.home / "tokens.json"
    file.write_text("{")
    file.chmod(0o600)
    for _ in range(2):
        assert ask(running.url, "GET", "/metrics", headers={"Authorization": "Bearer continuity_x"})[0] == 503
    requests = [line["request"] for line in running.log() if line["event"] == "tokens_unreadable"]
    assert len(set(requests)) == 2
    with SessionContinuity(dsn=database) as client:
        client.register_session("shop")
        wait_until(lambda: [line for line in running.log() if line["event"] == "pass"], 30)
    passes = [line for line in running.log() if line["event"] == "pass"]
    assert len({line["pass_id"] for line in passes}) == len(passes)
