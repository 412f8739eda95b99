"""The spool: one private file for each record, in order, and nothing outside the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from session_continuity import InvalidInput, NotFound, Refused
from session_continuity.capture.spool.names import is_name, make_name, parse_name
from session_continuity.capture.spool.spool import RECORD_LIMIT, Spool

NAME = "claude-code@PreToolUse@7@8-0123456789abcdef"
TRICKS = (
    "",
    ".",
    "..",
    "../other/claude-code@PreToolUse@7@8-0123456789abcdef",
    "/etc/passwd",
    "claude-code@../x@7@8-0123456789abcdef",
    f".{NAME}",
    f"{NAME}\n",
    f"{NAME}/",
    f"{NAME}\0",
    f"{NAME}@..",
    f"{NAME}@a/b",
    f"{NAME}@" + "h" * 65,
    "claude-code@PreToolUse@07@8-0123456789abcdef",
    "claude-code@PreToolUse@٧@8-0123456789abcdef",
    "quarantine",
    "lock",
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "home" / "spool")


def test_a_record_comes_back_as_it_was_put(spool: Spool) -> None:
    before = datetime.now(UTC)
    payload = bytes(range(256)) * 40
    name = spool.put("claude-code", "PreToolUse", payload, client_pid=4711)
    (record,) = spool.pending()
    assert (record.name, record.harness, record.event) == (name, "claude-code", "PreToolUse")
    assert (record.client_pid, record.host, record.payload) == (4711, None, payload)
    assert timedelta(seconds=-1) < record.captured_at - before < timedelta(seconds=10)
    assert (spool.folder / name).stat().st_mode & 0o777 == 0o600
    spool.remove(name)
    spool.remove(name)
    assert spool.pending() == []


def test_records_come_oldest_first_and_by_turn_where_the_times_are_equal(spool: Spool) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    late = spool.put("codex", "A", b"{}", captured_at=at + timedelta(microseconds=1))
    turns = (9, 10, 100, 2_000_000)
    names = {turn: f"codex@{'ZYXW'[place]}@7@{turn}-0123456789abcdef" for place, turn in enumerate(turns)}
    for turn in reversed(turns):
        spool.put("codex", names[turn].split("@")[1], b"{}", name=names[turn], captured_at=at)
    assert spool.names() == [*names.values(), late]
    assert [record.captured_at for record in spool.pending(2)] == [at, at]


def test_nothing_is_named_before_what_came_earlier(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that misses a file which is renamed while it runs, as a file system may do."""
    first, second, third = (spool.put("codex", "Stop", b"{}") for _ in range(3))
    for place, name in enumerate((first, second, third)):
        os.utime(spool.folder / name, ns=(place, place))
    listings = [[third, first], [first, second, third]]
    monkeypatch.setattr("os.listdir", lambda _: listings.pop(0))
    assert spool.names() == [first]


def test_puts_of_one_process_keep_their_order_within_a_tick_of_the_clock(spool: Spool) -> None:
    names = [spool.put("codex", event, b"{}") for event in "ZYXWVUTSRQPONMLKJIHGFEDCBA" * 8]
    tick = time.time_ns()
    for name in names:
        os.utime(spool.folder / name, ns=(tick, tick))
    assert spool.names() == names


@pytest.mark.parametrize("name", TRICKS)
def test_a_name_that_leads_elsewhere_is_refused(spool: Spool, name: str) -> None:
    calls: list[Callable[[str], object]] = [
        parse_name,
        spool.read,
        spool.holds,
        spool.remove,
        spool.retry,
        spool.drop,
        lambda given: spool.quarantine(given, "x", "y"),
        lambda given: spool.put("claude-code", "PreToolUse", b"{}", name=given),
    ]
    for call in calls:
        with pytest.raises(InvalidInput) as refused:
            call(name)
        assert refused.value.stable_code == "record_name"
    assert not is_name(name)


@pytest.mark.parametrize(
    ("harness", "event", "host"),
    [
        ("../x", "Stop", None),
        ("codex", "a/b", None),
        ("codex", "", None),
        ("codex", "Stop@x", None),
        ("codex", "S" * 65, None),
        ("codex", "Stop", "../host"),
        ("codex", "Stop", ""),
        ("codex", "Stop", "host name"),
    ],
)
def test_harness_event_and_host_must_fit_into_a_name(
    spool: Spool, harness: str, event: str, host: str | None
) -> None:
    for name in (None, "codex@Stop@7@8-0123456789abcdef"):
        with pytest.raises(InvalidInput):
            spool.put(harness, event, b"{}", host=host, name=name)
    assert spool.names() == []


def test_the_longest_name_is_a_file_name() -> None:
    longest = make_name("h" * 32, "E" * 64, client_pid=9_999_999_999, host="h" * 64)
    longest = longest._replace(turn=9_999_999_999, random="r" * 64)
    assert parse_name(str(longest)) == longest
    assert len(f".{longest}") <= 255


def test_a_forwarded_record_keeps_its_name_and_is_kept_once(spool: Spool) -> None:
    at = datetime(2026, 3, 1, 1, 2, 3, 456_789, tzinfo=UTC)
    given: dict[str, Any] = {"name": NAME, "host": "build-7.example", "captured_at": at}
    name = spool.put("claude-code", "PreToolUse", b"1", **given)
    assert name == f"{NAME}@build-7.example"
    assert spool.put("claude-code", "PreToolUse", b"2", **given) == name
    assert spool.put("claude-code", "PreToolUse", b"3", **given | {"name": name}) == name
    (record,) = spool.pending()
    assert (record.payload, record.host, record.captured_at) == (b"1", "build-7.example", at)
    spool.quarantine(name, "x", "y")
    assert spool.put("claude-code", "PreToolUse", b"4", **given) == name
    assert spool.names() == []
    with pytest.raises(InvalidInput):
        spool.put("claude-code", "PostToolUse", b"1", name=NAME)


@pytest.mark.parametrize("place", ["waiting", "quarantined"])
def test_to_put_a_known_record_again_flushes_it_before_it_is_acknowledged(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Who put it first may have been killed between the rename and the flush."""
    spool.put("claude-code", "PreToolUse", b"{}", name=NAME)
    if place == "quarantined":
        spool.quarantine(NAME, "code", "reason")
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.readlink(f"/proc/self/fd/{file}")))
    assert spool.put("claude-code", "PreToolUse", b"{}", name=NAME) == NAME
    assert flushed == [], "control: nobody asked for a flush"
    assert spool.put("claude-code", "PreToolUse", b"{}", name=NAME, flush=True) == NAME
    folder = spool.folder if place == "waiting" else spool.folder / "quarantine"
    assert flushed == [str(folder / NAME), str(folder)]


def test_a_payload_over_the_limit_is_refused_and_one_of_the_limit_is_kept(spool: Spool) -> None:
    spool.put("codex", "Stop", b"x" * RECORD_LIMIT)
    with pytest.raises(InvalidInput) as refused:
        spool.put("codex", "Stop", b"x" * (RECORD_LIMIT + 1))
    assert refused.value.stable_code == "payload_too_large"
    assert [len(record.payload) for record in spool.pending()] == [RECORD_LIMIT]


def test_drafts_and_other_files_are_no_records_and_block_nothing(spool: Spool) -> None:
    (spool.folder / f".{NAME}").write_bytes(b'{"torn')
    (spool.folder / "notes.txt").write_text("mine")
    name = spool.put("codex", "Stop", b"{}")
    assert spool.names() == [name]
    assert (spool.status().drafts, spool.status().foreign) == (1, 1)


def test_drafts_are_removed_when_they_are_a_day_old(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = spool.folder / ".draft"
    draft.touch()
    made = time.time()
    os.utime(draft, (1, 1))  # that of a forwarded record is as old as the record
    for age, removed in ((0, 0), (86_000, 0), (86_500, 1)):
        monkeypatch.setattr(time, "time", lambda: made + age)  # noqa: B023
        assert spool.remove_torn() == removed


def test_what_is_in_quarantine_has_its_reason_and_goes_back_as_it_was(spool: Spool) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    name = spool.put("codex", "Stop", b"x", captured_at=at)
    spool.quarantine(name, "payload_not_json", "r" * 5_000)
    spool.quarantine(name, "again", "it is gone from the waiting ones already")
    (record,) = spool.quarantined()
    assert (record.name, record.captured_at, record.bytes) == (name, at, 1)
    assert spool.read(name).payload == b"x"
    spool.retry(name)
    assert [record.captured_at for record in spool.pending()] == [at]
    for call in (spool.retry, spool.drop):
        with pytest.raises(NotFound):
            call(name)


def test_a_lost_reason_does_not_hide_the_record(spool: Spool) -> None:
    names = [spool.put("codex", "Stop", b"x") for _ in range(3)]
    for name in names:
        spool.quarantine(name, "x", "y")
    reasons = spool.folder / "quarantine" / "reasons"
    (reasons / names[0]).unlink()
    (reasons / names[1]).write_bytes(b'{"code": ')
    assert sorted(record.code for record in spool.quarantined()) == ["unknown", "unknown", "x"]
    spool.drop(names[0])
    assert len(spool.quarantined()) == 2


def test_over_its_capacity_the_spool_keeps_the_oldest_and_takes_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", capacity=1_000)
    kept = spool.put("codex", "Stop", b"x" * 1_000)
    assert spool.keep_capacity().full
    with pytest.raises(Refused) as refused:
        spool.put("codex", "Stop", b"{}")
    assert refused.value.stable_code == "spool_full"
    assert spool.names() == [kept]
    spool.quarantine(kept, "x", "y")
    assert spool.keep_capacity().full, "what is in quarantine takes room, too"
    spool.drop(kept)
    assert not spool.keep_capacity().full
    spool.put("codex", "Stop", b"{}")


def test_losses_are_counted_until_they_are_acknowledged(spool: Spool) -> None:
    for _ in range(3):
        spool.count_loss("codex", "Stop")
    assert spool.status().lost == 3
    assert spool.acknowledge_losses() == 3
    assert spool.status().lost == 0


@pytest.mark.parametrize("within", ["", "quarantine", "lost"])
def test_a_folder_that_others_can_enter_is_refused(spool: Spool, within: str) -> None:
    (spool.folder / within).chmod(0o710)
    with pytest.raises(Refused, match="chmod 700"):
        Spool(spool.folder)


def test_a_link_or_another_users_folder_is_refused(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(spool.folder)
    with pytest.raises(Refused, match="no link"):
        Spool(tmp_path / "link")
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    os.chown(spool.folder, 65_534, 65_534)
    with pytest.raises(Refused, match="another user"):
        Spool(spool.folder)


def test_what_is_no_plain_file_is_never_waited_for(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    os.mkfifo(spool.folder / NAME)
    (spool.folder / NAME.replace("@8-", "@9-")).symlink_to(tmp_path / "secret")
    for name in spool.names():
        with pytest.raises((InvalidInput, OSError)):
            spool.read(name)


@pytest.mark.parametrize("nanoseconds", [-(10**18), 0, 2**62, 253_402_300_799 * 10**9])
def test_any_time_of_a_file_can_be_told(spool: Spool, nanoseconds: int) -> None:
    name = spool.put("codex", "Stop", b"{}")
    os.utime(spool.folder / name, ns=(nanoseconds, nanoseconds))
    assert spool.read(name).captured_at.year in range(1970, 10_000)
    assert spool.status().oldest == spool.read(name).captured_at


def test_one_process_at_a_time_holds_the_lock_until_it_dies(spool: Spool) -> None:
    code = (
        "import sys, time; from pathlib import Path; from session_continuity.capture.spool.spool import Spool\n"
        "with Spool(Path(sys.argv[1])).locked() as held:\n"
        "    print(held, flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code, str(spool.folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with spool.locked() as held:
            assert not held
        other.kill()
        with spool.locked(wait=10) as held:
            assert held
