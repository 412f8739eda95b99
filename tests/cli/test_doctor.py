"""continuity doctor: a sound chain, and each link broken in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.conftest import RunningServer

from session_continuity import SessionContinuity
from session_continuity.capture.recorder.project_privacy import FILE_NAME
from session_continuity.capture.setup.installation import HARNESSES
from session_continuity.capture.setup.probe import PROJECT
from session_continuity.capture.spool.spool import open_spool
from session_continuity.settings import load_settings

from .conftest import Continuity

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def installed(offline: Continuity, home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Claude Code is set up, and the database named in the settings file, where hooks look."""
    project = home.parent / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    home.mkdir()
    (home / "settings.toml").write_text(f"dsn = '''{database}'''\n")
    assert offline("init", "--agent", "claude-code", "--yes").code == 0
    return home.parent / ".claude" / "settings.json"


def links(answer: Any, state: str) -> list[tuple[str, str | None]]:
    return [(link["link"], link["harness"]) for link in answer["links"] if link["state"] == state]


def test_a_sound_chain_passes_the_probe_and_keeps_nothing_of_it(
    offline: Continuity, installed: Path, database: str
) -> None:
    answer = offline("doctor", "--json")
    assert answer.code == 0, answer
    assert answer.document["sound"] is True
    assert links(answer.document, "broken") == []
    assert ("probe", "claude-code") in links(answer.document, "ok")
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM supervisor_sessions), (SELECT count(*) FROM event_store),"
            " (SELECT array_agg(project) FROM session_tombstones)"
        ).fetchone()
    assert rows == (0, 0, [PROJECT])


def test_the_probe_goes_through_every_agent(offline: Continuity, installed: Path) -> None:
    for harness in HARNESSES:
        offline("init", "--agent", harness, "--yes")
    answer = offline("doctor", "--json").document
    assert [link for link in links(answer, "ok") if link[0] == "probe"] == [("probe", name) for name in HARNESSES]
    assert links(answer, "broken") == [("switch", "codex")]


def test_the_probe_passes_while_a_resident_server_drains(offline: Continuity, installed: Path) -> None:
    assert offline("serve", "--detach", "--port", "0").code == 0
    try:
        answer = offline("doctor", "--json").document
        assert {("resident", None), ("probe", "claude-code")} <= set(links(answer, "ok"))
    finally:
        offline("serve", "--stop")


def test_without_hooks_the_chain_is_broken(offline: Continuity, installed: Path) -> None:
    offline("init", "--undo", "--yes")
    answer = offline("doctor", "--json")
    assert (answer.code, links(answer.document, "broken")) == (1, [("hooks", None)])
    assert "continuity init" in offline("doctor").err


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make plugins` builds."""
    folder = tmp_path_factory.mktemp("packages")
    subprocess.run([sys.executable, PLUGINS / "build.py", folder], check=True)
    return folder


def test_a_package_counts_as_set_up_and_doubles_what_init_wrote(
    offline: Continuity, installed: Path, home: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(packages / "claude-code", installed.parent / "plugins/cache/shop/session-continuity/0.1.0")
    assert links(offline("doctor", "--no-probe", "--json").document, "broken") == [("hooks", "claude-code")]
    offline("init", "--undo", "--yes")
    # OpenCode's is the file that `init` would write.
    shutil.copytree(packages / "opencode", home.parent / ".config" / "opencode")
    answer = offline("doctor", "--no-probe", "--json").document
    assert links(answer, "broken") == [("hooks", "claude-code"), ("hooks", "opencode")], "the home is not theirs"
    usual = Path.home() / ".local" / "share" / "session-continuity"
    usual.parent.mkdir(parents=True)
    home.rename(usual)
    monkeypatch.setenv("CONTINUITY_HOME", str(usual))
    answer = offline("doctor", "--no-probe", "--json", "--home", str(usual)).document
    assert links(answer, "broken") == []
    assert {("hooks", "claude-code"), ("hooks", "opencode")} <= set(links(answer, "ok"))


def test_a_project_file_that_is_ignored_and_one_that_switches_capture_off_are_told(
    offline: Continuity, installed: Path
) -> None:
    file = Path(FILE_NAME)
    file.write_text("capture = 3\n")
    answer = offline("doctor", "--no-probe", "--json")
    assert (answer.code, links(answer.document, "broken")) == (1, [("project", None)])
    file.write_text("capture = false\n")
    answer = offline("doctor", "--no-probe", "--json")
    assert (answer.code, links(answer.document, "warning")) == (0, [("project", None)])


def test_commands_of_another_installation_are_found(offline: Continuity, installed: Path) -> None:
    installed.write_bytes(installed.read_bytes().replace(os.fsencode(sys.executable), b"/gone/bin/python"))
    answer = offline("doctor", "--no-probe", "--json")
    assert (answer.code, links(answer.document, "broken")) == (1, [("hooks", "claude-code")])
    offline("init", "--yes", "--agent", "claude-code")
    assert offline("doctor", "--no-probe").code == 0


def test_settings_that_can_not_be_read_are_a_broken_link(offline: Continuity, installed: Path) -> None:
    installed.write_text("{")
    answer = offline("doctor", "--no-probe", "--json")
    assert (answer.code, links(answer.document, "broken")) == (1, [("hooks", "claude-code"), ("hooks", None)])


def test_hooks_that_are_switched_off_are_found(offline: Continuity, installed: Path) -> None:
    Path(".claude").mkdir()
    Path(".claude/settings.local.json").write_text('{"disableAllHooks": true}')
    answer = offline("doctor", "--no-probe", "--json")
    assert (answer.code, links(answer.document, "broken")) == (1, [("switch", "claude-code")])


def test_a_hook_that_fails_is_found_by_the_probe(offline: Continuity, installed: Path) -> None:
    installed.write_bytes(installed.read_bytes().replace(b'"exec /bin/sh', b'"echo loud; exec /bin/sh'))
    answer = offline("doctor", "--json")
    assert ("probe", "claude-code") in links(answer.document, "broken")
    assert "loud" in next(link["found"] for link in answer.document["links"] if link["link"] == "probe")


def test_a_hook_that_keeps_nothing_is_found_by_the_probe(
    offline: Continuity, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("session_continuity.capture.setup.probe._ROW_SECONDS", 0.5)
    installed.write_bytes(installed.read_bytes().replace(b'"exec /bin/sh', b'"true /bin/sh'))
    answer = offline("doctor", "--json")
    found = {link["link"]: link["found"] for link in answer.document["links"]}
    assert found["probe"].startswith("row: no row came")


def test_a_database_that_is_away_breaks_the_chain_and_the_probe_is_taken_back(
    offline: Continuity, installed: Path, home: Path
) -> None:
    (home / "settings.toml").write_text("dsn = 'host=/no/such/folder'\ndeadline_seconds = 1\n")
    answer = offline("doctor", "--json")
    assert answer.code == 1
    assert links(answer.document, "broken") == [("database", None), ("probe", "claude-code")]
    assert open_spool(load_settings(home=home)).names() == []


def test_pending_migrations_break_the_chain(
    offline: Continuity, installed: Path, home: Path, empty_database: str
) -> None:
    (home / "settings.toml").write_text(f"dsn = '''{empty_database}'''\n")
    answer = offline("doctor", "--no-probe", "--json")
    assert links(answer.document, "broken") == [("migrations", None)]
    assert "continuity db upgrade" in offline("doctor", "--no-probe").err


def test_a_dsn_that_hooks_do_not_see_breaks_the_chain(
    offline: Continuity, installed: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTINUITY_DSN", database)
    answer = offline("doctor", "--no-probe", "--json")
    assert links(answer.document, "broken") == [("settings", None)]


def test_losses_quarantine_and_old_records_are_told(offline: Continuity, installed: Path, home: Path) -> None:
    spool = open_spool(load_settings(home=home))
    spool.count_loss("claude-code", "Stop")
    name = spool.put("claude-code", "Stop", b"{}")
    spool.quarantine(name, "broken", "for a test")
    spool.put("claude-code", "Stop", b"{}", captured_at=datetime.now(UTC) - timedelta(hours=1))
    answer = offline("doctor", "--no-probe", "--json")
    assert (answer.code, links(answer.document, "warning")) == (
        0,
        [("spool", None), ("quarantine", None), ("losses", None)],
    )


def test_a_spool_that_others_can_enter_breaks_the_chain(offline: Continuity, installed: Path, home: Path) -> None:
    open_spool(load_settings(home=home)).folder.chmod(0o755)
    answer = offline("doctor", "--no-probe", "--json")
    assert ("spool", None) in links(answer.document, "broken")


def test_a_role_that_may_not_delete_leaves_the_probe_closed_and_says_so(
    offline: Continuity, installed: Path, home: Path, database: str, server: RunningServer
) -> None:
    role = f"narrow_{os.getpid()}_{server.embedded.status().pid}"
    with psycopg.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'narrow' IN ROLE continuity_writer".encode())
    server.require_password(role)
    narrow = make_conninfo(database, user=role, password="narrow")
    (home / "settings.toml").write_text(f"dsn = '''{narrow}'''\n")
    answer = offline("doctor", "--json")
    assert (answer.code, links(answer.document, "warning")) == (0, [("probe", "claude-code")])
    with SessionContinuity(dsn=database) as client:
        assert [session.status for session in client.find_sessions(project=PROJECT)] == ["closed"]


def test_the_entry_of_the_mcp_server_is_looked_at(offline: Continuity, installed: Path) -> None:
    def found() -> tuple[str, str]:
        answer = offline("doctor", "--no-probe", "--json").document
        ((state, remedy),) = [
            (link["state"], str(link["remedy"])) for link in answer["links"] if link["link"] == "mcp"
        ]
        return state, remedy

    assert found()[0] == "ok"
    file = installed.parents[1] / ".claude.json"
    whole = file.read_text()
    file.write_text(whole.replace(sys.executable, "/nowhere/python"))
    assert found() == ("broken", "run `continuity mcp config claude-code --scope user --write`")
    file.write_text("{")
    assert found()[0] == "broken"
    file.write_text(whole)
    assert offline("mcp", "config", "claude-code", "--undo", "--yes").code == 0
    state, remedy = found()
    assert (state, "--write" in remedy) == ("absent", True)
    assert (
        offline("mcp", "config", "claude-code", "--http", "http://127.0.0.1:1/mcp", "--write", "--yes").code == 0
    )
    assert found()[0] == "ok"
