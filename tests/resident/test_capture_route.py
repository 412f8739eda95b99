"""POST /capture: into the spool, durably before the answer, once by name."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from session_continuity.capture.spool.spool import Spool
from session_continuity.web.tokens import USED_FOLDER

from .conftest import Intake, post, record


def test_records_are_kept_with_their_name_time_and_host(intake: Intake) -> None:
    assert intake.post(record(2), record(1)) == (200, {"stored": 2, "refused": []})
    first, second = intake.spool.pending()
    assert first.name == record(1)["name"] + "@far.example"
    assert (first.harness, first.event, first.client_pid, first.host) == ("claude-code", "Stop", 7, "far.example")
    assert first.captured_at.isoformat() == "2026-02-02T02:40:00.000001+00:00"
    assert json.loads(second.payload) == {"session": "s", "number": 2}


def test_a_record_that_is_sent_again_is_kept_once(intake: Intake) -> None:
    for _ in range(3):
        assert intake.post(record(1), record(1))[0] == 200
    assert len(intake.spool.names()) == 1
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: intake.post(*(record(n) for n in range(20))), range(8)))
    assert [status for status, _ in answers] == [200] * 8
    assert [json.loads(each.payload)["number"] for each in intake.spool.pending()] == list(range(20))


HOSTILE: dict[str, dict[str, Any]] = {
    "leaves the folder": {"name": "../../x@Stop@7@1-0000000000000001"},
    "a path": {"name": "/etc/cron.d/x"},
    "a draft": {"name": ".claude-code@Stop@7@1-0000000000000001"},
    "a folder of the spool": {"name": "quarantine"},
    "the lock": {"name": "lock"},
    "empty": {"name": ""},
    "a NUL": {"name": "claude-code@Stop@7@1-0000000000000001\0"},
    "a new line": {"name": "claude-code@Stop@7@1-0000000000000001\n"},
    "too long": {"name": "claude-code@Stop@7@1-" + "0" * 300},
    "not ASCII": {"name": "claude-code@Stop@7@1-000000000000000é"},
    "another harness than its name": {"harness": "codex"},
    "another event than its name": {"event": "PreToolUse"},
    "another host than its name": {"name": "claude-code@Stop@7@1-0000000000000001@other.example"},
    "a harness that is a path": {"harness": "../x", "name": "../x@Stop@7@1-0000000000000001"},
    "an event that is a path": {"event": "../x", "name": "claude-code@../x@7@1-0000000000000001"},
    "a host that is a path": {"host": "../x"},
    "a host that hides another": {"host": "a@b"},
    "a host of one dot": {"host": "."},
    "no host": {"host": None},
    "a host too long": {"host": "a" * 65},
    "a name that is none": {"name": 1},
    "a pid that is none": {"client_pid": -1},
    "a pid that is a truth": {"client_pid": True},
    "a pid of too many digits": {"client_pid": 10**12},
    "a time that is a fraction": {"captured_at": 1.5},
    "a time before all": {"captured_at": -1},
    "a time after all": {"captured_at": 2**63 - 1},
    "no base64": {"payload": "not base64!"},
    "half of base64": {"payload": "QQ"},
    "a payload that is none": {"payload": {}},
    "an unknown field": {"later": 1},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_record_is_refused_and_those_beside_it_are_kept(intake: Intake, change: dict[str, Any]) -> None:
    before = everything(intake)
    status, answer = intake.post(record(1, **change))
    assert status == 422, answer
    assert [each["place"] for each in answer["refused"]] == [0]
    assert answer["refused"][0]["error"]
    assert everything(intake) == before
    status, answer = intake.post(record(5), record(1, **change), record(6))
    assert (status, answer["stored"], answer["refused"][0]["place"]) == (422, 2, 1)
    assert [json.loads(each.payload)["number"] for each in intake.spool.pending()] == [5, 6]


def everything(intake: Intake) -> set[str]:
    return {
        os.path.join(path, name)
        for path, _, names in os.walk(intake.home.parent)
        for name in names
        if os.path.basename(path) != USED_FOLDER
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"records"',
        b'{"records": {}}',
        b'{"records": []}',
        b'{"records": [' + b"1," * 500 + b"1]}",
        b"[" * 100_000,
        b'{"records": ["\xff"]}',
        b'{"records": ["\\ud800"]}',
        b'{"a": NaN}',
    ],
)
def test_a_body_that_is_no_list_of_records_is_refused(intake: Intake, body: bytes) -> None:
    status, answer = post(intake.url, intake.token, body)
    assert status in (400, 422), answer
    assert answer.get("error") or answer["refused"]
    assert intake.spool.names() == []


def test_a_spool_without_room_says_come_again(intake: Intake) -> None:
    (intake.spool.folder / "full").touch()
    status, answer = intake.post(record(1))
    assert (status, answer["error"]) == (507, "not_kept")
    (intake.spool.folder / "full").unlink()
    assert intake.post(record(1))[0] == 200


def test_the_answer_comes_after_the_flush(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    flush = os.fsync

    def watched(file: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{file}"))
        flush(file)

    monkeypatch.setattr(os, "fsync", watched)
    assert intake.post(record(1))[0] == 200
    draft, folder = flushed
    assert draft.startswith(f"{intake.spool.folder}/.")
    assert folder == str(intake.spool.folder)

    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    assert intake.post(record(2))[0] == 507
    assert len(intake.spool.names()) == 1


def test_a_payload_of_any_bytes_is_kept_as_it_is(intake: Intake) -> None:
    content = bytes(range(256)) * 1_000
    assert intake.post(record(1, payload=b64encode(content).decode()))[0] == 200
    assert intake.spool.pending()[0].payload == content
    assert Spool(intake.spool.folder).status().waiting == 1
