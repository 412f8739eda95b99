"""What a project keeps to itself is not stored; a repository's file can only ask for less."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from session_continuity import InvalidInput, SessionContinuity
from session_continuity.capture.facts import facts
from session_continuity.capture.recorder.project_privacy import ProjectPrivacy
from session_continuity.capture.recorder.transcript_import import import_transcript
from session_continuity.settings import load_settings


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / ".git").mkdir(parents=True)
    (folder / "src").mkdir()
    return folder


def privacy(tmp_path: Path, settings: str = "") -> ProjectPrivacy:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "settings.toml").write_text(settings)
    return ProjectPrivacy(load_settings(home=home))


def called(tool: str = "Read", call_id: str = "1", **parameters: Any) -> facts.ToolCalled:
    return facts.ToolCalled(
        key=f"call:{call_id}",
        at=None,
        tool_call_id=call_id,
        tool=tool,
        action=tool,
        parameters=parameters,
        subagent=None,
    )


def finished(call_id: str = "1", call: facts.ToolCalled | None = None) -> facts.ToolFinished:
    return facts.ToolFinished(
        key=f"result:{call_id}", at=None, tool_call_id=call_id, result="x", error=None, outcome="success",
        duration_ms=None, call=call,
    )  # fmt: skip


PROMPT = facts.PromptSubmitted(key="p", at=None, text="hello", source="user")


def started(cwd: str) -> facts.SessionStarted:
    return facts.SessionStarted(
        key="s", at=None, harness="claude-code", harness_session_id="1", cwd=cwd, git_branch=None, git_head=None,
        version=None, model=None, source=None, parent_harness_session_id=None,
    )  # fmt: skip


def test_everything_is_allowed_unless_something_says_otherwise(tmp_path: Path, repository: Path) -> None:
    rules = privacy(tmp_path)
    for cwd in (None, str(repository), "/nowhere", "relative", "\0"):
        assert rules.allows(cwd, PROMPT)
        assert rules.allows(cwd, called(file_path="/etc/passwd"))
    assert rules.is_off(str(repository)) is None
    assert rules.problem(str(repository)) is None


def test_a_repository_switches_its_capture_off_from_any_folder_in_it(tmp_path: Path, repository: Path) -> None:
    rules = privacy(tmp_path)
    file = repository / ".continuity.toml"
    file.write_text("capture = false\n")
    inside = str(repository / "src")
    assert not rules.allows(inside, PROMPT)
    assert not rules.allows(None, started(inside))
    assert rules.is_off(inside) == str(file)
    assert rules.allows(str(tmp_path), PROMPT)
    file.unlink()
    assert rules.allows(inside, PROMPT)


def test_the_user_switches_a_project_off_and_no_repository_switches_it_on(
    tmp_path: Path, repository: Path
) -> None:
    rules = privacy(tmp_path, f'[projects."{repository}"]\ncapture = false\n')
    (repository / ".continuity.toml").write_text("capture = true\n")
    assert not rules.allows(str(repository / "src"), PROMPT)
    assert "capture = false only" in str(rules.problem(str(repository)))


@pytest.mark.parametrize(
    ("call", "ignored"),
    [
        (called(file_path="secrets/db.txt"), True),
        (called(file_path="{repo}/secrets/deep/db.txt"), True),
        (called(file_path="../shop/key.pem"), True),
        (called(path="src/main.py"), False),
        (called("Bash", command="cat ./secrets/db.txt | head"), True),
        (called("Bash", command="openssl x509 -in 'key.pem'"), True),
        (called("Bash", command="make test"), False),
        (called("shell", command=["bash", "-lc", "cat key.pem"]), True),
        (called("mcp__vault__read"), True),
        (called("Edit", edits=[{"file_path": "key.pem"}]), True),
    ],
)
def test_a_call_is_ignored_by_paths_and_tool_names(
    tmp_path: Path, repository: Path, call: facts.ToolCalled, ignored: bool
) -> None:
    (repository / ".continuity.toml").write_text('ignore = ["secrets/", "*.pem", "mcp__vault__*"]')
    parameters = json.loads(json.dumps(call.parameters).replace("{repo}", str(repository)))
    rules = privacy(tmp_path)
    assert rules.allows(str(repository), called(call.tool, **parameters)) is not ignored
    assert rules.allows(str(repository), finished()) is not ignored
    assert rules.allows(str(repository), finished(call=called(call.tool, **parameters))) is not ignored
    assert rules.allows(str(repository), PROMPT)


def test_the_folders_above_a_project_are_no_part_of_its_paths(tmp_path: Path) -> None:
    repository = tmp_path / "build" / "shop"
    (repository / ".git").mkdir(parents=True)
    (repository / ".continuity.toml").write_text('ignore = ["build"]')
    rules = privacy(tmp_path)
    assert rules.allows(str(repository), called(file_path="src/main.py"))
    assert not rules.allows(str(repository), called(file_path="build/out.js"))


@pytest.mark.parametrize(
    "content",
    [
        'dsn = "postgresql://elsewhere/db"',
        'capture = false\nhome = "/tmp"',
        'capture = "no"',
        'ignore = "x"',
        "ignore = [3]",
        "nonsense",
        f"ignore = {['x'] * 101}",
        "#" * 70_000,
        "\xff",
    ],
)
def test_a_repositorys_file_that_sets_anything_else_is_ignored_and_told(
    tmp_path: Path, repository: Path, content: str
) -> None:
    (repository / ".continuity.toml").write_bytes(content.encode("latin-1"))
    rules = privacy(tmp_path)
    assert rules.allows(str(repository), PROMPT)
    assert ".continuity.toml is ignored: " in str(rules.problem(str(repository)))


def test_a_repositorys_file_that_is_none_stops_nothing(tmp_path: Path, repository: Path) -> None:
    rules = privacy(tmp_path)
    os.mkfifo(repository / ".continuity.toml")
    assert rules.allows(str(repository), PROMPT)
    assert "is not a file" in str(rules.problem(str(repository)))
    (repository / ".continuity.toml").unlink()
    (repository / ".continuity.toml").symlink_to("/etc/passwd")
    assert rules.allows(str(repository), PROMPT)
    assert "root:" not in str(rules.problem(str(repository)))


@pytest.mark.parametrize("table", ["capture = 3", 'dsn = "x"', "ignore = [1]"])
def test_the_users_settings_are_checked(tmp_path: Path, table: str) -> None:
    with pytest.raises(InvalidInput, match="projects"):
        privacy(tmp_path, f'[projects."/srv/shop"]\n{table}\n')


def test_an_import_keeps_out_what_the_project_ignores(
    database: str, tmp_path: Path, repository: Path, recording: Path
) -> None:
    (repository / ".continuity.toml").write_text('ignore = ["limiter.py", "Bash"]')
    with SessionContinuity(dsn=database, home=str(tmp_path / "home")) as client:
        report = import_transcript(client, "claude-code", recording)
        commands = client.search_commands(instance_id=report.instance_id)
        state = client.recover_state(report.instance_id).work_state
    assert report.ignored > 0
    assert report.problems == {}
    assert "Bash" not in {command.tool_name for command in commands}
    assert "limiter.py" not in json.dumps([command.parameters for command in commands])
    assert "limiter.py" not in json.dumps(state["files"])


def test_nothing_is_imported_from_a_project_that_is_off(
    database: str, tmp_path: Path, repository: Path, recording: Path
) -> None:
    (repository / ".continuity.toml").write_text("capture = false")
    with SessionContinuity(dsn=database, home=str(tmp_path / "home")) as client:
        with pytest.raises(InvalidInput, match="capture is off") as refused:
            import_transcript(client, "claude-code", recording)
        assert refused.value.stable_code == "capture_off"
        assert client.find_sessions() == []


@pytest.fixture
def recording(tmp_path: Path, repository: Path) -> Path:
    script = Path(__file__).parents[2] / "demo" / "session.jsonl"
    text = script.read_text("utf-8").replace("{cwd}", str(repository)).replace("{sha}", "abc1234")
    path = tmp_path / "session.jsonl"
    path.write_text(text.replace("{session}", "5e55104e-0000-4000-8000-000000000001"), "utf-8")
    return path
