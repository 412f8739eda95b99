"""Administration as the command line does it: the embedded server, a server of one's own, and a server that is
set up from nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.conftest import RunningServer, new_home

from session_continuity import SessionContinuity, load_settings
from session_continuity.deployment import Deployment
from session_continuity.domain.errors import InvalidInput, Refused, Unavailable
from session_continuity.postgres import migrations
from session_continuity.postgres.embedded import EmbeddedServer
from session_continuity.postgres.provisioning import connection_url

ALL = list(migrations.migrations())
NUMBERS = count(1)
NAMES = Callable[[str], str]


@pytest.fixture
def home() -> Iterator[Path]:
    folder = new_home()
    yield folder
    EmbeddedServer(folder).stop()
    shutil.rmtree(folder)


@pytest.fixture
def name(server: RunningServer) -> Iterator[NAMES]:
    """Makes names that the server does not know; what bears them in the end is dropped."""
    made: list[str] = []

    def make(stem: str) -> str:
        made.append(f"{stem} {next(NUMBERS)}")
        return made[-1]

    yield make
    for each in made:
        server.drop_database(each)
    for each in reversed(made):
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (each,)).fetchall():
                role = sql.Identifier(each)
                connection.execute(sql.SQL("REASSIGN OWNED BY {} TO continuity").format(role))
                connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
                connection.execute(sql.SQL("DROP ROLE {}").format(role))


def administrator(server: RunningServer, name: NAMES, attributes: str) -> str:
    """The conninfo of a role that logs in with a password and has the given attributes."""
    role = name("admin")
    server.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw' {}").format(sql.Identifier(role), sql.SQL(attributes))
    )
    server.require_password(role)
    return server.conninfo(user=role, password="pw")


def test_the_status_of_an_embedded_server_starts_and_makes_nothing(home: Path) -> None:
    deployment = Deployment(load_settings(home=home))
    found = deployment.status()
    assert (found.server, found.state, found.migrations, found.is_current) == ("embedded", "absent", (), False)
    assert list(home.iterdir()) == []


def test_the_embedded_server_from_first_start_to_stop(home: Path) -> None:
    deployment = Deployment(load_settings(home=home))
    assert deployment.verify().passed
    assert deployment.upgrade() == []
    found = deployment.status()
    assert (found.state, found.database, found.is_current) == ("running", "supervisor_meta", True)
    assert found.server_version is not None
    assert found.data_folder is not None
    assert found.data_folder.is_dir()
    with psycopg.connect(deployment.url()) as connection:
        assert connection.execute("SELECT count(*) FROM event_store").fetchone() == (0,)
    assert deployment.plan_downgrade() == list(reversed(ALL))
    newer = [migration for migration in reversed(ALL) if migration.version > "1769750000000"]
    assert deployment.downgrade("threads") == newer
    assert [each.state for each in deployment.status().migrations[-2:]] == ["pending", "pending"]
    assert deployment.downgrade() == list(reversed(ALL))[len(newer) :]
    assert deployment.upgrade() == ALL
    assert deployment.stop() is True
    assert deployment.stop() is False
    assert deployment.status().state == "stopped"


def test_a_server_of_ones_own_is_administered_but_not_stopped(empty_database: str, home: Path) -> None:
    deployment = Deployment(load_settings(home=home, dsn=empty_database))
    assert deployment.status().is_current is False
    with pytest.raises(Refused, match="continuity db upgrade"):
        deployment.verify()
    assert deployment.upgrade() == ALL
    found = deployment.status()
    assert (found.server, found.state, found.data_folder, found.is_current) == ("dsn", "running", None, True)
    assert deployment.verify().passed
    with pytest.raises(Refused, match="not ours to stop"):
        deployment.stop()
    assert list(home.iterdir()) == []


def test_a_server_that_does_not_answer_is_unavailable(home: Path) -> None:
    deployment = Deployment(load_settings(home=home, dsn=f"host={home} dbname=nothing"))
    with pytest.raises(Unavailable):
        deployment.status()


@pytest.mark.parametrize(
    ("conninfo", "url"),
    [
        ("host=db.example dbname=a user=u", "postgresql://u@db.example/a"),
        ("host=db port=6 user=u password='p@ss w' dbname=a", "postgresql://u:p%40ss%20w@db:6/a"),
        ("host=/run/pg port=6 user=u dbname=a", "postgresql://u@/a?host=%2Frun%2Fpg&port=6"),
        ("host=::1 dbname=a", "postgresql://[::1]/a"),
        ("host=a,b port=1,2 dbname=d sslmode=require", "postgresql:///d?sslmode=require&host=a%2Cb&port=1%2C2"),
        ("postgresql://u:p@h/d?sslmode=require", "postgresql://u:p@h/d?sslmode=require"),
    ],
)
def test_a_conninfo_becomes_the_url_that_means_the_same(conninfo: str, url: str) -> None:
    assert connection_url(conninfo) == url
    assert conninfo_to_dict(url) == conninfo_to_dict(conninfo)


def test_a_server_is_set_up_from_nothing_and_the_role_lives_on_it(server: RunningServer, name: NAMES) -> None:
    database, role = name("meta"), name("chief")
    deployed = Deployment.deploy(server.conninfo(), database=database, role=role, password="so secret")
    assert deployed.changes[0] == f"created database {database}"
    assert deployed.migrations == tuple(migration.file for migration in ALL)
    assert "so secret" not in str(deployed)
    assert deployed.hints == ()
    server.require_password(role)
    login = make_conninfo(server.conninfo(database), user=role, password="so secret")
    with SessionContinuity(dsn=login) as client:
        session = client.register_session("shop").instance_id
        assert client.append_event(session, "test_passed").last_sequence_num == 2
    assert Deployment(load_settings(dsn=login)).verify().passed
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(make_conninfo(login, password="wrong"))


def test_a_second_deployment_changes_nothing_and_says_so(server: RunningServer, name: NAMES) -> None:
    wanted = {"database": name("meta"), "role": name("chief"), "password": "so secret"}
    assert Deployment.deploy(server.conninfo(), **wanted).changed
    again = Deployment.deploy(server.conninfo(), **wanted)
    assert (again.changes, again.changed, again.as_json()["changed"]) == ((), False, False)
    other = Deployment.deploy(server.conninfo(), **(wanted | {"password": "another"}))
    assert other.changes == (f"set the password of role {wanted['role']}",)


def test_several_deployments_at_once_make_everything_once(server: RunningServer, name: NAMES) -> None:
    wanted = {"database": name("meta"), "role": name("chief"), "password": "so secret"}
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(Deployment.deploy, server.conninfo(), **wanted) for _ in range(4)]
        changes = [change for run in runs for change in run.result().changes]
    assert len(changes) == len(set(changes))
    assert {f"created database {wanted['database']}", f"created role {wanted['role']}"} <= set(changes)


def test_several_deployments_at_once_change_a_role_one_after_another(server: RunningServer, name: NAMES) -> None:
    wanted = {"database": name("meta"), "role": name("chief")}
    Deployment.deploy(server.conninfo(), **wanted)
    server.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(wanted["role"])))
    with ThreadPoolExecutor(6) as pool:
        runs = [
            pool.submit(Deployment.deploy, server.conninfo(), **wanted, password=f"password {number}")
            for number in range(6)
        ]
        changes = [change for run in runs for change in run.result().changes]
    assert changes.count(f"let role {wanted['role']} log in") == 1
    assert changes.count(f"set the password of role {wanted['role']}") == 6


def test_names_that_need_quoting_are_quoted(server: RunningServer, name: NAMES) -> None:
    database, role = name('we"ird; DROP'), name('o\'brien "x" ü')
    deployed = Deployment.deploy(server.conninfo(), database=database, role=role, password="a'b\"c\\ ü")
    assert deployed.database == database
    server.require_password(role.replace('"', '""'))
    with psycopg.connect(server.conninfo(database, user=role, password="a'b\"c\\ ü")) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (role,)


def test_a_role_made_without_a_password_is_told_so(server: RunningServer, name: NAMES) -> None:
    deployed = Deployment.deploy(server.conninfo(), database=name("meta"), role=name("chief"))
    assert "no password" in deployed.hints[0]


def test_a_password_reaches_no_log(server: RunningServer, name: NAMES) -> None:
    log = server.home / "postgres" / "postgres.log"
    for setting in ("log_statement = 'all'", "log_min_duration_statement = 0"):
        server.execute(sql.SQL("ALTER SYSTEM SET " + setting))
    server.execute(sql.SQL("SELECT pg_reload_conf()"))
    try:
        role = name("chief")
        Deployment.deploy(server.conninfo(), database=name("meta"), role=role, password="clear text")
        written = log.read_text("utf-8", "replace")
        assert f'ALTER ROLE "{role}" PASSWORD \'SCRAM-SHA-256$' in written
        assert "clear text" not in written
    finally:
        server.execute(sql.SQL("ALTER SYSTEM RESET ALL"))
        server.execute(sql.SQL("SELECT pg_reload_conf()"))


@pytest.mark.parametrize(
    ("attributes", "lacking"),
    [
        ("", "CREATEDB"),
        ("CREATEDB", "CREATEROLE"),
        ("CREATEROLE", "CREATEDB"),
    ],
)
def test_a_missing_privilege_of_the_administrator_is_named(
    server: RunningServer, name: NAMES, attributes: str, lacking: str
) -> None:
    admin = administrator(server, name, attributes)
    with pytest.raises(Refused, match=f"lacks {lacking}") as caught:
        Deployment.deploy(admin, database=name("meta"), role=name("chief"))
    assert caught.value.as_json()["privilege"] == lacking


def admit_to_our_roles(server: RunningServer, admin: str) -> None:
    """From PostgreSQL 16 on CREATEROLE alone gives no say over roles that others made."""
    role = sql.Identifier(str(conninfo_to_dict(admin)["user"]))
    for ours in ("supervisor", "continuity_writer"):
        server.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(sql.Identifier(ours), role))


def test_an_administrator_who_may_not_create_tables_is_told_so(
    server: RunningServer, name: NAMES, empty_database: str
) -> None:
    admin = administrator(server, name, "CREATEROLE")
    admit_to_our_roles(server, admin)
    database = str(conninfo_to_dict(empty_database)["dbname"])
    with pytest.raises(Refused) as caught:
        Deployment.deploy(admin, database=database, role=name("chief"))
    assert caught.value.as_json()["privilege"] == "CREATE ON SCHEMA public"


def test_an_administrator_need_not_be_a_superuser(server: RunningServer, name: NAMES) -> None:
    admin = administrator(server, name, "CREATEDB CREATEROLE")
    admit_to_our_roles(server, admin)
    wanted = {"database": name("meta"), "role": name("chief"), "password": "so secret"}
    assert len(Deployment.deploy(admin, **wanted).migrations) == len(ALL)
    # Only a superuser can read what the password is, so it is set again.
    assert Deployment.deploy(admin, **wanted).changes == (f"set the password of role {wanted['role']}",)


def test_a_superuser_is_no_role_for_agents(server: RunningServer, name: NAMES) -> None:
    with pytest.raises(Refused, match="superuser"):
        Deployment.deploy(server.conninfo(), database=name("meta"), role="continuity", password="x")


def test_a_database_that_can_not_hold_all_text_is_refused(server: RunningServer, name: NAMES) -> None:
    database = name("latin")
    server.execute(
        sql.SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0").format(
            sql.Identifier(database)
        )
    )
    with pytest.raises(Refused, match="SQL_ASCII"):
        Deployment.deploy(server.conninfo(), database=database, role=name("chief"))


@pytest.mark.parametrize("wrong", [{"database": ""}, {"role": "r" * 64}, {"password": ""}])
def test_names_and_passwords_that_can_not_be_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        Deployment.deploy("host=/nowhere", **wrong)


def test_the_reports_role_logs_in_and_runs_what_the_report_prints(server: RunningServer, name: NAMES) -> None:
    database = name("meta")
    Deployment.deploy(server.conninfo(), database=database, password="as printed")
    server.require_password("supervisor")
    login = server.conninfo(database, user="supervisor", password="as printed")
    with psycopg.connect(login, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO supervisor_sessions (instance_id, project, instance_type, status, context_percent)"
            " VALUES ('consilio-PS-abc123', 'consilio-s', 'PS', 'active', 45)"
        )
        assert connection.execute("SELECT count(*) FROM supervisor_sessions").fetchone() == (1,)
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("TRUNCATE supervisor_sessions CASCADE")
