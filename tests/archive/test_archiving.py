"""Archive, verify, show, search, restore: nothing is deleted without an equal copy, and all of it comes back."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.archive.aged import HOSTILE, Connection, age, make_sessions, open_client, rows
from tests.capture.hooking import small_disk

from session_continuity import SessionContinuity
from session_continuity.archive import erasing
from session_continuity.archive import folder as folders
from session_continuity.archive.archiving import run_archive
from session_continuity.archive.erasing import erase_archived
from session_continuity.archive.folder import ArchiveFolder
from session_continuity.archive.reading import archives_named, search_archives, show_rows, verify_archives
from session_continuity.archive.restoring import restore_archive
from session_continuity.domain.archives import Archive, list_archives
from session_continuity.domain.errors import Conflict, Refused
from session_continuity.domain.retention import plan_retention
from session_continuity.postgres.row_streams import RowStreams
from session_continuity.services.archive import Archiving


@pytest.fixture(params=["parquet", "json-lines"])
def archiver(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[SessionContinuity]:
    with open_client(database, tmp_path / "home", archive_format=request.param) as client:
        yield client


@pytest.fixture
def parquet(database: str, tmp_path: Path) -> Iterator[SessionContinuity]:
    with open_client(database, tmp_path / "home") as client:
        yield client


def archives(client: SessionContinuity) -> list[Archive]:
    return client.run(list_archives())


def folder_of(client: SessionContinuity, archive: Archive) -> Path:
    return client.settings.home / "archive" / archive.archive_id


def all_kept(client: SessionContinuity, connection: Connection, before: dict[str, dict[str, bytes]]) -> None:
    """What is in the tables and what the archives bring back are the rows that were there before."""
    for archive in archives(client):
        restore_archive(client, archive)
    assert rows(connection) == before


def test_all_comes_back_as_it_was(archiver: SessionContinuity, connection: Connection) -> None:
    sessions = make_sessions(archiver)
    age(connection)
    before = rows(connection)
    states = {session: archiver.recover_state(session).work_state for session in sessions}
    (plan,) = archiver.run(plan_retention(archiver.settings.retention))
    report = run_archive(archiver)
    (archive,) = archives(archiver)
    assert report.rows == plan.rows == archive.events + archive.commands + archive.checkpoints > 0
    after = rows(connection)
    assert {kind: len(found) for kind, found in after.items()} == {
        kind: len(found) - getattr(plan, kind) for kind, found in before.items()
    }
    assert {session: archiver.recover_state(session).work_state for session in sessions} == states
    assert [one.problems for one in verify_archives(archiver)] == [()]
    all_kept(archiver, connection, before)
    assert restore_archive(archiver, archive).events == 0
    assert run_archive(archiver).archives == [], "what was restored stays for a while"


def test_an_archived_session_is_shown_searched_and_resumed(
    parquet: SessionContinuity, connection: Connection
) -> None:
    session, *_ = make_sessions(parquet)
    age(connection)
    run_archive(parquet)
    shown = show_rows(parquet, archives_named(parquet, session), "events", session, 100)
    assert [row["sequence_num"] for row in shown] == list(range(1, len(shown) + 1))
    prompt = next(row for row in shown if row["event_type"] == "prompt_submitted")
    assert prompt["event_data"] == {"text": f"{HOSTILE} needle0"}
    found, *_ = search_archives(parquet, archives(parquet), "NEEDLE0").found
    assert (found.instance_id, found.reference) == (session, prompt["sequence_num"])
    with pytest.raises(Refused, match=f"continuity archive restore {session}") as refused:
        parquet.recover_state(session, until=3)
    assert refused.value.stable_code == "events_archived"
    resumed = parquet.resume_session(session).successor
    assert resumed is not None
    restore_archive(parquet, archives_named(parquet, session)[0], instance_id=session)
    assert parquet.recover_state(session, until=3).work_state["sequence_num"] == 3


def test_what_recovery_a_hold_or_an_age_needs_stays(parquet: SessionContinuity, connection: Connection) -> None:
    held, unsaved, young, active = (*make_sessions(parquet, 3), parquet.register_session("shop").instance_id)
    connection.execute("UPDATE supervisor_sessions SET legal_hold = true WHERE instance_id = %s", (held,))
    connection.execute("DELETE FROM checkpoints WHERE instance_id = %s", (unsaved,))
    age(connection)
    connection.execute("UPDATE supervisor_sessions SET closed_at = now() WHERE instance_id = %s", (young,))
    before = rows(connection)
    (plan,) = parquet.run(plan_retention(parquet.settings.retention))
    assert (plan.held, plan.without_checkpoint) == (1, 1)
    run_archive(parquet)
    after = rows(connection)
    assert (after["events"], after["checkpoints"]) == (before["events"], before["checkpoints"])
    assert parquet.recover_state(active).work_state["sequence_num"] == 1


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "manifest"])
def test_damage_is_found_and_nothing_is_deleted_for_it(
    archiver: SessionContinuity, connection: Connection, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    make_sessions(archiver)
    age(connection)
    before = rows(connection)
    monkeypatch.setattr(RowStreams, "prune", interrupted)
    with pytest.raises(Interrupted):
        run_archive(archiver)
    monkeypatch.undo()
    (archive,) = archives(archiver)
    (file,) = folder_of(archiver, archive).glob("manifest.json" if damage == "manifest" else "events-1.*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    (verified,) = verify_archives(archiver)
    assert file.name in verified.problems[0] or "manifest" in verified.problems[0]
    report = run_archive(archiver)
    assert report.problems != []
    assert rows(connection) == before
    with pytest.raises(Refused):
        restore_archive(archiver, archive)


def test_a_byte_that_is_flipped_anywhere_is_found(parquet: SessionContinuity, connection: Connection) -> None:
    make_sessions(parquet, 1)
    age(connection)
    run_archive(parquet)
    (archive,) = archives(parquet)
    for file in sorted(folder_of(parquet, archive).iterdir()):
        whole = file.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 40)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            (verified,) = verify_archives(parquet)
            assert verified.problems, (file.name, place)
        file.write_bytes(whole)
    assert verify_archives(parquet)[0].problems == ()


class Interrupted(BaseException):
    """As if the process had been killed here."""


def interrupted(*_: Any, **__: Any) -> Any:
    raise Interrupted


def test_a_row_that_was_changed_after_it_was_copied_stays(
    parquet: SessionContinuity, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, other = make_sessions(parquet, 2)
    age(connection)
    prune = RowStreams.prune

    def change_first(*arguments: Any) -> bool:
        connection.execute(
            "UPDATE event_store SET metadata = '{\"seen\": 1}' WHERE instance_id = %s AND sequence_num = 2",
            (changed,),
        )
        return prune(*arguments)

    monkeypatch.setattr(RowStreams, "prune", change_first)
    report = run_archive(parquet, most_archives=1)
    assert report.rows_kept > 0
    left = connection.execute(
        "SELECT instance_id, count(*) FROM event_store WHERE metadata <> '{}' GROUP BY 1"
    ).fetchall()
    assert left == [(changed, 1)]
    counts = dict(connection.execute("SELECT instance_id, count(*) FROM event_store GROUP BY 1").fetchall())
    assert counts[changed] > counts[other]


def test_without_the_comparison_a_changed_row_would_be_lost(
    parquet: SessionContinuity, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: deleting what was copied, without a second look, loses the change."""
    (changed,) = make_sessions(parquet, 1)
    age(connection)
    copy_out = RowStreams.copy_out
    pruning = threading.Event()

    def blind(streams: RowStreams, kind: Any, keys: Any, copies: bytes, *rest: Any) -> bool:
        connection.execute("UPDATE event_store SET metadata = '{\"seen\": 1}' WHERE sequence_num = 2")
        monkeypatch.setattr(RowStreams, "copy_out", lambda *_: iter([copies]))
        try:
            return prune(streams, kind, keys, copies, *rest)
        finally:
            monkeypatch.setattr(RowStreams, "copy_out", copy_out)
            pruning.set()

    prune = RowStreams.prune
    monkeypatch.setattr(RowStreams, "prune", blind)
    run_archive(parquet, most_archives=1)
    assert pruning.is_set()
    restore_archive(parquet, archives_named(parquet, changed)[0])
    assert connection.execute("SELECT count(*) FROM event_store WHERE metadata <> '{}'").fetchone() == (0,)


def test_appends_go_on_meanwhile_and_nothing_of_them_is_lost(
    parquet: SessionContinuity, connection: Connection, database: str
) -> None:
    make_sessions(parquet, 6, events=40)
    age(connection)
    before = rows(connection)
    done, written = threading.Event(), list[str]()

    def write() -> None:
        with SessionContinuity(dsn=database) as writer:
            session = writer.register_session("shop").instance_id
            while not done.is_set():
                appended = writer.append_event(session, "note_recorded", {"text": "meanwhile"})
                written.append(f"{session} {appended.sequence_nums[0]}")

    writing = threading.Thread(target=write)
    writing.start()
    try:
        while not written:
            assert writing.is_alive()
        report = run_archive(parquet)
    finally:
        done.set()
        writing.join()
    assert report.archives
    found = connection.execute(
        "SELECT instance_id || ' ' || sequence_num FROM event_store WHERE event_data->>'text' = 'meanwhile'"
    ).fetchall()
    assert {row[0] for row in found} == set(written)
    for archive in archives(parquet):
        restore_archive(parquet, archive)
    after = rows(connection)
    assert all(after[kind].items() >= before[kind].items() for kind in before)


def test_a_service_whose_folder_is_worked_in_leaves_the_work_to_who_does_it(
    parquet: SessionContinuity, connection: Connection
) -> None:
    make_sessions(parquet)
    age(connection)
    with ArchiveFolder(parquet.settings).locked():
        assert Archiving(parquet.settings).run_once(parquet).done == 0
    assert Archiving(parquet.settings).run_once(parquet).done == 1


def test_several_at_once_archive_each_row_once(connection: Connection, database: str, tmp_path: Path) -> None:
    clients = [open_client(database, tmp_path / f"machine {number}") for number in range(4)]
    make_sessions(clients[0], 8)
    age(connection)
    before = rows(connection)
    barrier = threading.Barrier(len(clients))
    failures = list[BaseException]()

    def work(client: SessionContinuity) -> None:
        barrier.wait()
        try:
            while Archiving(client.settings).run_once(client).done:
                pass
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in (*clients, clients[0])[:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error for error in failures if getattr(error, "stable_code", None) != "archive_busy"] == []
    found = archives(clients[0])
    kept = rows(connection)
    for kind in before:
        assert sum(getattr(one, kind) for one in found) == len(before[kind]) - len(kept[kind])
    for client in clients:
        for archive in found:
            if archive.folder == str(client.settings.home / "archive"):
                restore_archive(client, archive)
        client.close()
    assert rows(connection) == before


def test_a_full_disk_is_no_success_and_heals(parquet: SessionContinuity, connection: Connection) -> None:
    make_sessions(parquet, 4, events=200)
    age(connection)
    before = rows(connection)
    folder = parquet.settings.home / "archive"
    folder.parent.mkdir(exist_ok=True)
    with small_disk(folder, "20k"):
        with pytest.raises(OSError, match="No space left on device"):
            run_archive(parquet)
        assert rows(connection) == before
        assert archives(parquet) == []
    shutil.rmtree(folder)
    run_archive(parquet)
    all_kept(parquet, connection, before)


def test_a_forgotten_session_leaves_the_archives_and_never_comes_back(
    archiver: SessionContinuity, connection: Connection
) -> None:
    gone, kept, _ = make_sessions(archiver)
    age(connection)
    run_archive(archiver)
    forgotten = archiver.forget_session(gone)
    (archive,) = archives(archiver)
    assert erase_archived(archiver, forgotten.instance_ids).archives == (archive.archive_id,)
    (archive,) = archives(archiver)
    assert {file.name for file in folder_of(archiver, archive).iterdir()} == files_named(archiver, archive)
    assert search_archives(archiver, [archive], "needle0").found == ()
    assert search_archives(archiver, [archive], "needle1").found != ()
    assert verify_archives(archiver)[0].problems == ()
    assert gone not in restore_archive(archiver, archive).sessions
    assert connection.execute("SELECT count(*) FROM event_store WHERE instance_id = %s", (gone,)).fetchone() == (
        0,
    )
    assert archiver.recover_state(kept).work_state["sequence_num"] > 0


def test_an_erasing_that_was_cut_short_keeps_no_archive_from_being_finished(
    archiver: SessionContinuity, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = make_sessions(archiver, 2)
    age(connection)
    before = rows(connection, but=gone)
    monkeypatch.setattr(RowStreams, "prune", interrupted)
    with pytest.raises(Interrupted):
        run_archive(archiver)
    archiver.forget_session(gone)
    monkeypatch.setattr(erasing, "record_erased", interrupted)
    with pytest.raises(Interrupted):
        erase_archived(archiver, [gone])
    monkeypatch.undo()
    report = run_archive(archiver)
    (archive,) = archives(archiver)
    assert (report.problems, archive.state, report.erased) == ([], "finished", [archive.archive_id])
    assert search_archives(archiver, [archive], kept).found != ()
    assert search_archives(archiver, [archive], gone).found == ()
    all_kept(archiver, connection, before)


def test_what_is_told_to_be_erased_is_gone_from_the_disk(
    archiver: SessionContinuity, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss brings nothing back: the folder is flushed after its last change and before the catalogue."""
    gone, *_ = make_sessions(archiver)
    age(connection)
    run_archive(archiver)
    archiver.forget_session(gone)
    (archive,) = archives(archiver)
    place, done = folder_of(archiver, archive), list[str]()
    unlink, flush, record_erased = Path.unlink, folders.flush, erasing.record_erased

    def noted(name: str, operation: Any) -> Any:
        def note(*arguments: Any, **options: Any) -> Any:
            if name != "flush" or arguments == (place,):
                done.append(name)
            return operation(*arguments, **options)

        return note

    monkeypatch.setattr(Path, "unlink", noted("unlink", unlink))
    monkeypatch.setattr(folders, "flush", noted("flush", flush))
    monkeypatch.setattr(erasing, "record_erased", noted("told", record_erased))
    erase_archived(archiver, [gone])
    assert done == ["flush", *["unlink"] * 4, "flush", "told"]


def files_named(client: SessionContinuity, archive: Archive) -> set[str]:
    """What the manifest names, and itself: files with what was erased lie beside it no more."""
    told = json.loads((folder_of(client, archive) / "manifest.json").read_bytes())
    return {"manifest.json", *(file["name"] for file in told["files"])}


def test_a_damaged_archive_with_a_forgotten_session_keeps_no_other_from_being_made(
    parquet: SessionContinuity, connection: Connection
) -> None:
    gone, *_ = make_sessions(parquet)
    age(connection)
    run_archive(parquet)
    (damaged,) = archives(parquet)
    make_sessions(parquet, 1, project="bank")
    age(connection)
    parquet.forget_session(gone)
    next(folder_of(parquet, damaged).glob("events-*")).unlink()
    report = run_archive(parquet)
    assert (len(report.archives), len(report.problems)) == (1, 1)
    assert damaged.archive_id in report.problems[0]


def test_what_stands_in_the_place_of_a_restored_row_is_a_conflict(
    parquet: SessionContinuity, connection: Connection
) -> None:
    (session,) = make_sessions(parquet, 1)
    age(connection)
    run_archive(parquet)
    (archive,) = archives(parquet)
    connection.execute(
        "INSERT INTO event_store (instance_id, event_type, sequence_num, owner_epoch)"
        " VALUES (%s, 'note_recorded', 2, 1)",
        (session,),
    )
    with pytest.raises(Conflict) as conflict:
        restore_archive(parquet, archive)
    assert conflict.value.stable_code == "restore_conflict", conflict.value
    assert restore_archive(parquet, archive, keep_live=True).events == archive.events - 1


def test_archives_past_their_age_are_deleted_unless_a_session_of_them_is_held(
    database: str, connection: Connection, tmp_path: Path
) -> None:
    policy = {"archive_sessions_after": "30d", "delete_archives_after": "1d"}
    with open_client(database, tmp_path / "home", retention=policy) as client:
        (session,) = make_sessions(client, 1)
        age(connection)
        run_archive(client)
        (archive,) = archives(client)
        connection.execute("UPDATE archives SET created_at = created_at - interval '2 days'")
        connection.execute("UPDATE supervisor_sessions SET legal_hold = true")
        assert run_archive(client).deleted == []
        connection.execute("UPDATE supervisor_sessions SET legal_hold = false")
        assert run_archive(client).deleted == [archive.archive_id]
        assert not folder_of(client, archive).exists()
        with pytest.raises(Refused, match="deleted"):
            client.recover_state(session, until=3)


def test_a_manifest_that_leads_out_of_the_folder_is_refused(
    parquet: SessionContinuity, connection: Connection
) -> None:
    make_sessions(parquet, 1)
    age(connection)
    run_archive(parquet)
    (archive,) = archives(parquet)
    file = folder_of(parquet, archive) / "manifest.json"
    told = json.loads(file.read_bytes())
    told["files"][1]["name"] = "../../../etc/passwd"
    file.write_text(json.dumps(told))
    assert verify_archives(parquet)[0].problems
    with pytest.raises(Refused):
        restore_archive(parquet, archive)
