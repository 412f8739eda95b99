"""continuity init: it shows the diff, asks, writes, and takes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from session_continuity.capture.redaction import secret_engine

from .conftest import Continuity

SETTINGS = b'// mine\n{\n    "model": "large"\n}\n'


@pytest.fixture
def claude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of a user of Claude Code, who works in a project of that home."""
    file = tmp_path / "user" / ".claude" / "settings.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(SETTINGS)
    project = tmp_path / "project"
    project.mkdir()
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(project)
    return file


def test_a_dry_run_shows_the_diff_and_changes_nothing(offline: Continuity, claude: Path) -> None:
    answer = offline("init", "--dry-run")
    assert answer.code == 0
    assert f"+++ {claude}" in answer.out
    assert '+    "hooks": {' in answer.out
    assert "nothing was changed" in answer.err
    assert claude.read_bytes() == SETTINGS


def test_nothing_is_written_without_consent(offline: Continuity, claude: Path) -> None:
    answer = offline("init", "--json")
    assert (answer.code, answer.document["error"]) == (2, "not_confirmed")
    assert answer.document["plan"][0]["action"] == "change"
    assert offline("init").code == 2
    assert claude.read_bytes() == SETTINGS


def test_init_and_undo(offline: Continuity, claude: Path) -> None:
    done = offline("init", "--yes", "--json").document
    assert [(each["harness"], each["action"]) for each in done["edits"]] == [
        ("claude-code", "change"),
        ("claude-code", "create"),
    ]
    assert done["applied"] is True
    installed = claude.read_bytes()
    assert installed.startswith(b'// mine\n{\n    "model": "large",\n    "hooks": {\n')
    again = offline("init", "--yes")
    assert (again.code, again.out) == (0, "")
    assert "nothing to change" in again.err
    undone = offline("init", "--undo", "--yes", "--json").document
    assert [each["action"] for each in undone["edits"] if each["action"] != "keep"] == ["change", "remove"]
    assert claude.read_bytes() == SETTINGS
    assert not (claude.parents[1] / ".claude.json").exists()


def test_the_mcp_server_can_be_left_out(offline: Continuity, claude: Path) -> None:
    done = offline("init", "--yes", "--no-mcp", "--json").document
    assert [each["file"] for each in done["edits"]] == [str(claude)]
    assert not (claude.parents[1] / ".claude.json").exists()
    assert offline("init", "--undo", "--no-mcp", "--yes").code == 2
    assert offline("init", "--yes").code == 0
    server = json.loads((claude.parents[1] / ".claude.json").read_bytes())["mcpServers"]["session-continuity"]
    assert server["args"][-1] == str(claude.parents[1].parent / "home")


def test_the_project_s_own_settings_are_those_that_are_not_committed(offline: Continuity, claude: Path) -> None:
    assert offline("init", "--agent", "claude-code", "--scope", "project", "--yes").code == 0
    assert [path.name for path in Path(".claude").iterdir()] == ["settings.local.json"]
    assert claude.read_bytes() == SETTINGS
    assert offline("init", "--undo", "--scope", "project", "--yes").code == 0
    assert list(Path().iterdir()) == []


def test_an_agent_can_be_named_though_it_is_not_found(offline: Continuity, claude: Path) -> None:
    answer = offline("init", "--agent", "codex", "--agent", "opencode", "--yes", "--json")
    assert [(each["harness"], each["action"]) for each in answer.document["edits"]] == [
        ("codex", "create"),
        ("codex", "create"),
        ("opencode", "create"),
        ("opencode", "create"),
    ]
    (note,) = answer.document["notes"]
    assert "not trusted" in note
    assert "/hooks" in note


def test_codex_hooks_that_are_trusted_are_not_told_of_again(offline: Continuity, claude: Path) -> None:
    offline("init", "--agent", "codex", "--yes")
    folder = Path.home() / ".codex"
    hooks = json.loads((folder / "hooks.json").read_bytes())["hooks"]
    names = {name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:] for name in hooks}
    state = "".join(
        f'[hooks.state."{folder}/hooks.json:{names[event]}:0:0"]\ntrusted_hash = "sha256:0"\n' for event in hooks
    )
    (folder / "config.toml").write_text(state)
    assert offline("init", "--agent", "codex", "--yes", "--json").document["notes"] == []
    (folder / "config.toml").write_text("[features]\nhooks = false\n" + state.split("[", 1)[0])
    notes = offline("init", "--agent", "codex", "--yes", "--json").document["notes"]
    assert ["switches hooks off" in notes[0], "not trusted" in notes[1]] == [True, True]


def test_what_keeps_hooks_from_running_is_told(offline: Continuity, claude: Path) -> None:
    claude.write_text('{"disableAllHooks": true}')
    gemini = Path.home() / ".gemini" / "settings.json"
    gemini.parent.mkdir()
    gemini.write_text('{"hooksConfig": {"disabled": ["session-continuity"]}}')
    notes = offline("init", "--yes", "--json").document["notes"]
    assert ["disableAllHooks" in notes[0], "/hooks enable" in notes[1]] == [True, True]


def test_a_dsn_that_hooks_do_not_see_is_told(
    offline: Continuity, claude: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTINUITY_DSN", "host=/nowhere")
    notes = offline("init", "--yes", "--json").document["notes"]
    assert "settings.toml" in notes[0]


def test_without_an_agent_there_is_nothing_to_set_up(offline: Continuity, claude: Path) -> None:
    claude.unlink()
    claude.parent.rmdir()
    answer = offline("init", "--yes", "--json")
    assert (answer.code, answer.document["error"]) == (3, "no_agent_found")


def test_a_hostile_settings_file_can_not_reach_the_terminal(offline: Continuity, claude: Path) -> None:
    claude.write_text('{\n  "a": "\x1b]0;owned\x07\u202e"\n}\n')
    shown = offline("init", "--dry-run").out
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_the_rules_of_the_full_engine_are_compiled_before_the_first_session(
    offline: Continuity, claude: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kingfisher_sdk", reason="the extra `secrets` is not installed")
    monkeypatch.setattr(secret_engine, "_loaded", [])
    offline("init", "--dry-run")
    assert not (home / "cache").exists()
    offline("init", "--yes")
    assert any((home / "cache" / "secret-rules").iterdir())
