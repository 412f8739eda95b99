"""Erasing, deleting by age and restoring that end at any statement or file operation: what was to go is gone after
the next pass, what was to stay is as it was. Each with a control that is found."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.archive.aged import Connection, age, make_sessions, open_client, rows
from tests.archive.conftest import Dying

from session_continuity import SessionContinuity
from session_continuity.archive.archiving import run_archive
from session_continuity.archive.folder import DELETED, ArchiveFolder
from session_continuity.archive.reading import read_rows, verify_archives
from session_continuity.archive.restoring import restore_archive
from session_continuity.domain.archives import get_archive, list_archives
from session_continuity.domain.errors import SessionContinuityError

SAVED = ("archives", "archived_sessions", "event_store", "command_log", "checkpoints")
Check = Callable[[int], None]


@dataclass
class Archived:
    """Two archives, of the projects shop and bank; that of the shop holds `erasable` and another session. What was
    saved is the state that each work begins with. `before` are all rows, `others` those but of `erasable`."""

    client: SessionContinuity
    connection: Connection
    erasable: str
    shop: str
    bank: str
    before: dict[str, dict[str, bytes]]
    others: dict[str, dict[str, bytes]]

    @property
    def home(self) -> Path:
        return self.client.settings.home

    @property
    def folder(self) -> ArchiveFolder:
        return ArchiveFolder(self.client.settings)

    def save(self) -> None:
        shutil.rmtree(self.home / "saved", ignore_errors=True)
        shutil.copytree(self.folder.path, self.home / "saved")
        self.connection.execute("DROP SCHEMA IF EXISTS saved CASCADE")
        self.connection.execute("CREATE SCHEMA saved")
        for table in SAVED:
            self.connection.execute(f"CREATE TABLE saved.{table} AS TABLE public.{table}".encode())

    def put_back(self) -> None:
        shutil.rmtree(self.folder.path)
        shutil.copytree(self.home / "saved", self.folder.path)
        with self.connection.transaction():
            self.connection.execute("SET LOCAL session_replication_role = replica")
            for table in SAVED:
                self.connection.execute(f"DELETE FROM public.{table}".encode())
                self.connection.execute(f"INSERT INTO public.{table} TABLE saved.{table}".encode())

    def owners(self, archive_id: str) -> dict[str, Counter[str]]:
        """How many rows each session has in an archive, by kind; the archive is whole."""
        manifest = self.folder.manifest(archive_id)
        self.folder.check_files(archive_id, manifest)
        return {
            file.kind: Counter(
                owner for batch in read_rows(self.folder, manifest, file) for owner in batch.values("instance_id")
            )
            for file in manifest.files
        }

    def files(self, archive_id: str) -> dict[str, bytes]:
        return files_in(self.folder.of(archive_id))

    def problems(self) -> list[tuple[str, ...]]:
        return [one.problems for one in verify_archives(self.client) if one.problems]


def files_in(place: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in place.iterdir()}


@pytest.fixture(params=["parquet", "json-lines"])
def archived(
    request: pytest.FixtureRequest, database: str, connection: Connection, tmp_path: Path
) -> Iterator[Archived]:
    with open_client(database, tmp_path / "home", archive_format=request.param) as client:
        erasable, _ = make_sessions(client, 2, events=4)
        make_sessions(client, 1, events=4, project="bank")
        age(connection)
        before, others = rows(connection), rows(connection, but=erasable)
        run_archive(client)
        bank, shop = sorted(one.archive_id for one in client.run(list_archives()))
        yield Archived(client, connection, erasable, shop, bank, before, others)


def check_erased(archived: Archived) -> Check:
    """After the next pass nothing of the erasable session is in an archive; all else is, and verified."""
    whole, other = archived.owners(archived.shop), archived.files(archived.bank)
    archived.client.forget_session(archived.erasable)
    rest = {
        kind: Counter({owner: n for owner, n in held.items() if owner != archived.erasable})
        for kind, held in whole.items()
    }

    def check(at: int) -> None:
        assert archived.owners(archived.shop) in (whole, rest), at
        assert run_archive(archived.client).problems == [], at
        assert archived.owners(archived.shop) == rest, at
        named = {file.name for file in archived.folder.manifest(archived.shop).files}
        assert archived.files(archived.shop).keys() == {"manifest.json", *named}, at
        assert archived.files(archived.bank) == other, at
        assert archived.problems() == [], at
        for one in archived.client.run(list_archives()):
            restore_archive(archived.client, one)
        assert rows(archived.connection) == rows(archived.connection, but=archived.erasable) == archived.others, at

    return check


def check_expired(archived: Archived) -> Check:
    """The archive past its age is wholly there or gone, as the catalogue says; what is held since is not deleted,
    and otherwise it is gone after the next pass."""
    kept, other = archived.files(archived.shop), archived.files(archived.bank)
    archived.connection.execute(
        "UPDATE archives SET created_at = created_at - interval '400 days' WHERE archive_id = %s", (archived.shop,)
    )
    present = rows(archived.connection)

    def state() -> str:
        return archived.client.run(get_archive(archived.shop)).state

    @contextmanager
    def held() -> Generator[None]:
        change = "UPDATE supervisor_sessions SET legal_hold = %s WHERE instance_id = %s"
        archived.connection.execute(change, (True, archived.erasable))
        try:
            yield
        finally:
            archived.connection.execute(change, (False, archived.erasable))

    def told_truly(at: int) -> None:
        assert state() in ("finished", "deleted"), at
        assert archived.folder.left("") == sorted(
            [archived.bank] if state() == "deleted" else [archived.bank, archived.shop]
        ), at
        assert state() == "deleted" or archived.files(archived.shop) == kept, at
        assert archived.folder.left(DELETED) == [], at
        assert archived.problems() == [], at

    def check(at: int) -> None:
        if state() == "finished":
            place = archived.folder.of(archived.shop)
            (there,) = (one for one in (place, place.with_suffix(DELETED)) if one.exists())
            assert files_in(there) == kept, at
        with held():
            assert run_archive(archived.client).problems == [], at
            told_truly(at)
        assert run_archive(archived.client).problems == [], at
        told_truly(at)
        assert state() == "deleted", at
        assert archived.files(archived.bank) == other, at
        assert rows(archived.connection) == present, at

    return check


def check_restored(archived: Archived) -> Check:
    """Of each archive all rows are back and it says so, or none; restoring again brings what is missing."""
    archived.save()
    without = rows(archived.connection)
    back: dict[str, dict[str, dict[str, bytes]]] = {}
    for one in archived.client.run(list_archives()):
        present = rows(archived.connection)
        restore_archive(archived.client, one)
        back[one.archive_id] = {
            kind: dict(found.items() - present[kind].items()) for kind, found in rows(archived.connection).items()
        }
    files = {archive_id: archived.files(archive_id) for archive_id in back}
    archived.put_back()

    def check(at: int) -> None:
        expected = {kind: dict(found) for kind, found in without.items()}
        for (archive_id,) in archived.connection.execute(
            "SELECT archive_id FROM archived_sessions GROUP BY 1 HAVING count(restored_at) = count(*)"
        ).fetchall():
            for kind, found in back[archive_id].items():
                expected[kind] |= found
        assert rows(archived.connection) == expected, at
        for one in archived.client.run(list_archives()):
            restore_archive(archived.client, one)
        assert rows(archived.connection) == archived.before, at
        assert {archive_id: archived.files(archive_id) for archive_id in back} == files, at
        assert archived.problems() == [], at

    return check


CHECKS: dict[str, Callable[[Archived], Check]] = {
    "erase": check_erased,
    "expire": check_expired,
    "restore": check_restored,
}


def kill_at_each(archived: Archived, dying: Dying, work: str, every: int, check: Check) -> None:
    """From what is there now, put back before each."""
    archived.save()
    files = archived.client.settings.archive_format
    dying.kill_at_each(work, archived.home, files, every, start=archived.put_back, check=check)


@pytest.mark.parametrize("work", CHECKS)
def test_wherever_a_change_of_archives_is_killed_the_next_one_finishes_it(
    archived: Archived, dying: Dying, work: str
) -> None:
    kill_at_each(archived, dying, work, 7, CHECKS[work](archived))


@pytest.mark.faults
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("work", CHECKS)
def test_a_change_of_archives_is_killed_at_each_of_its_operations(
    archived: Archived, dying: Dying, work: str
) -> None:
    kill_at_each(archived, dying, work, 1, CHECKS[work](archived))


@pytest.mark.parametrize("archived", ["parquet"], indirect=True)
@pytest.mark.parametrize(
    ("work", "control", "every"),
    [("erase", "erase_told_first", 4), ("expire", "expire_told_first", 1), ("restore", "restore_in_pieces", 4)],
)
def test_in_another_order_the_same_kills_leave_what_is_wrong(
    archived: Archived, dying: Dying, work: str, control: str, every: int
) -> None:
    """The controls: the catalogue is told before the files are changed, and a restore without its transaction."""
    check, wrong = CHECKS[work](archived), list[int]()

    def look(at: int) -> None:
        try:
            check(at)
        except (AssertionError, SessionContinuityError):
            wrong.append(at)

    kill_at_each(archived, dying, control, every, look)
    print(f"{control}: wrong after {wrong}")
    assert wrong != []
    assert -1 not in wrong, "when it is not killed, the other order does no harm"
