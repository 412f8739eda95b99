"""continuity mcp config: it prints, shows the diff, asks, writes, and takes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Continuity


@pytest.fixture
def config(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a user of Codex, who works in a project of that home."""
    file = home.parent / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_bytes(b'model = "large"  # mine\n')
    project = home.parent / "project"
    project.mkdir()
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(project)
    return file


def test_without_write_it_only_prints(offline: Continuity, config: Path) -> None:
    answer = offline("mcp", "config", "codex")
    assert answer.code == 0
    assert answer.out.startswith("[mcp_servers.session-continuity]\ncommand = ")
    assert str(config) in answer.err
    document = offline("mcp", "config", "vscode", "--json").document
    assert json.loads(document["entry"])["servers"]["session-continuity"]["type"] == "stdio"
    assert config.read_bytes() == b'model = "large"  # mine\n'


def test_it_is_written_when_it_was_shown_and_confirmed(offline: Continuity, config: Path) -> None:
    refused = offline("mcp", "config", "codex", "--write", "--json")
    assert (refused.code, refused.document["error"]) == (2, "not_confirmed")
    dry = offline("mcp", "config", "codex", "--write", "--dry-run")
    assert "+[mcp_servers.session-continuity]" in dry.out
    assert config.read_bytes() == b'model = "large"  # mine\n'
    done = offline("mcp", "config", "codex", "--write", "--yes", "--json").document
    assert (done["applied"], done["edits"][0]["action"]) == (True, "change")
    assert config.read_bytes().startswith(b'model = "large"  # mine\n\n[mcp_servers.session-continuity]\n')
    assert "nothing to change" in offline("mcp", "config", "codex", "--write", "--yes").err
    assert offline("mcp", "config", "codex", "--undo", "--yes").code == 0
    assert config.read_bytes() == b'model = "large"  # mine\n'


def test_the_token_is_only_named(offline: Continuity, config: Path) -> None:
    answer = offline(
        "mcp", "config", "codex", "--http", "https://build.example/mcp", "--token-env", "TOKEN", "--write", "--yes"
    )
    assert answer.code == 0
    assert b'url = "https://build.example/mcp"\nbearer_token_env_var = "TOKEN"\n' in config.read_bytes()


@pytest.mark.parametrize(
    "given",
    [
        ["--token-env", "TOKEN"],
        ["--undo", "--write"],
        ["--undo", "--http", "http://a/mcp"],
        ["--http", "nowhere"],
        ["--http", "http://a/mcp", "--token-env", "sk-secret"],
    ],
)
def test_what_does_not_go_together_is_refused(offline: Continuity, config: Path, given: list[str]) -> None:
    assert offline("mcp", "config", "codex", *given).code == 2


def test_a_dsn_that_the_agent_will_not_see_is_told(offline: Continuity, config: Path, database: str) -> None:
    told = offline("mcp", "config", "codex", "--write", "--yes", "--dsn", database).err
    assert "settings.toml" in told
