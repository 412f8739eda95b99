"""Our entries in the harnesses' settings: put in once, and taken out without a trace."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_continuity import InvalidInput, NotFound, Refused
from session_continuity.capture.harnesses import claude_code_settings, hook_entries, json_text
from session_continuity.capture.harnesses.hooks import ADAPTERS
from session_continuity.capture.setup.installation import HARNESSES, NOT_HOOKS, Installation, wanted_entries
from session_continuity.settings import Settings

from .conftest import User, make_user
from .settings_examples import BROKEN, EXAMPLES

COMMENT = re.compile(rb"//[^\n]*|/\*.*?\*/", re.DOTALL)
IN_JSON = ("claude-code", "codex", "gemini-cli")


def events(harness: str) -> set[str]:
    return set(ADAPTERS[harness].EVENTS) - set(NOT_HOOKS)


def foreign(content: bytes | None) -> Any:
    """What the harness reads in a file, without our entries and what is empty without them."""
    text = hook_entries.remove_hooks((content or b"").decode())
    root = json_text.parse_object(text)
    value = dict(root.value) if root else {}
    servers = value.get("mcpServers", {})
    if servers.pop("session-continuity", None) and not servers:
        del value["mcpServers"]
    value["hooks"] = {event: groups for event, groups in value.get("hooks", {}).items() if groups}
    status_line = value.get("statusLine")
    if status_line and claude_code_settings.is_our_status_line(status_line["command"]):
        del value["statusLine"]
    return {name: item for name, item in value.items() if item or name != "hooks"}


@pytest.mark.parametrize("harness", HARNESSES)
@pytest.mark.parametrize("example", EXAMPLES)
def test_undo_restores_every_byte_and_init_twice_is_init_once(user: User, harness: str, example: str) -> None:
    content = EXAMPLES[example] if harness in IN_JSON else None
    path = user.write(harness, content)
    before = sorted(user.place.home.rglob("*"))
    assert user.init(harness).edit.action == ("create" if content is None else "change")
    once = path.read_bytes()
    assert user.init(harness).edit.action == "keep"
    assert path.read_bytes() == once != content
    user.undo(harness)
    assert (path.read_bytes() if path.exists() else None) == content
    assert sorted(user.place.home.rglob("*")) == before
    assert user.undo(harness).edit.action == "keep"


@pytest.mark.parametrize("harness", IN_JSON)
@pytest.mark.parametrize("example", [name for name in EXAMPLES if name != "a status line"])
def test_every_event_gets_our_command_and_foreign_settings_stay(user: User, harness: str, example: str) -> None:
    path = user.write(harness, EXAMPLES[example])
    user.init(harness)
    content = path.read_bytes()
    ours = hook_entries.our_hooks(content.decode())
    assert set(ours) == events(harness)
    hooks = wanted_entries(user.settings, harness).hooks
    for event, handlers in ours.items():
        assert [handler["command"] for handler in handlers] == [hooks[event].line]
    assert foreign(content) == foreign(EXAMPLES[example])
    assert COMMENT.findall(content) == COMMENT.findall(EXAMPLES[example] or b"")


@pytest.mark.parametrize("harness", IN_JSON)
@pytest.mark.parametrize("example", BROKEN)
def test_what_can_not_be_read_is_refused_and_left_alone(user: User, harness: str, example: str) -> None:
    path = user.write(harness, BROKEN[example])
    with pytest.raises(InvalidInput, match=str(path)) as refused:
        user.init(harness)
    assert "nothing was changed" in refused.value.message
    assert path.read_bytes() == BROKEN[example]
    assert os.listdir(path.parent) == [path.name]


def test_one_broken_file_keeps_all_from_being_changed(user: User) -> None:
    user.write("codex", b"{")
    path = user.write("claude-code", b"{}")
    with pytest.raises(InvalidInput):
        user.installation().plan(["claude-code", "codex"])
    assert path.read_bytes() == b"{}"


@pytest.mark.parametrize("harness", IN_JSON)
def test_when_the_file_was_changed_since_only_our_entries_are_taken_out(user: User, harness: str) -> None:
    path = user.write(harness, EXAMPLES["comments"])
    user.init(harness)
    changed = path.read_bytes().replace(b'"A": "1"', b'"A": "2"')
    path.write_bytes(changed)
    undone = user.undo(harness)
    assert "not restored from the backup" in undone.notes[0]
    assert path.read_bytes() == (EXAMPLES["comments"] or b"").replace(b'"A": "1"', b'"A": "2"')


@pytest.mark.parametrize("harness", IN_JSON)
@pytest.mark.parametrize("example", [name for name, content in EXAMPLES.items() if content is not None])
def test_without_a_backup_our_entries_alone_are_taken_out(user: User, harness: str, example: str) -> None:
    path = user.write(harness, EXAMPLES[example])
    user.init(harness)
    for backup in (user.settings.home / "installation").iterdir():
        backup.unlink()
    user.undo(harness)
    content = path.read_bytes()
    assert user.installation().installed_commands(harness) == {}
    assert foreign(content) == foreign(EXAMPLES[example])


def test_an_update_keeps_the_backup_of_before_the_first_init(user: User) -> None:
    path = user.write("codex", EXAMPLES["comments"])
    user.init("codex")
    moved = Settings(home=user.settings.home / "moved", sources={})
    planned = Installation(moved, user.place).plan(["codex"])
    user.installation().apply(planned)
    assert b"moved" in path.read_bytes()
    user.undo("codex")
    assert path.read_bytes() == EXAMPLES["comments"]


def test_stale_commands_are_replaced_where_they_stand(user: User) -> None:
    path = user.write("codex", b'{"hooks": {}}')
    user.init("codex")
    stale = path.read_bytes().replace(b"data folder", b"gone")
    late = b'{"hooks": [{"type": "command", "command": "late"}]}'
    stale = stale.replace(b'"Stop": [', b'"Stop": [' + late + b", ").replace(b'"timeout": 10', b'"timeout": 3')
    path.write_bytes(stale)
    user.init("codex")
    fresh = json.loads(path.read_bytes())
    assert b"gone" not in path.read_bytes()
    stop = fresh["hooks"]["Stop"]
    assert (stop[0], len(stop)) == (json.loads(late), 2)
    assert [list(groups) for groups in fresh["hooks"].values() if len(groups) != 1] == [list(stop)]


def test_doubled_and_unwanted_entries_of_ours_are_cleared(user: User) -> None:
    path = user.write("codex", None)
    user.init("codex")
    settings = json.loads(path.read_bytes())
    settings["hooks"]["Stop"] *= 2
    settings["hooks"]["NoSuchEvent"] = settings["hooks"]["Stop"][:1]
    path.write_text(json.dumps(settings, indent=2) + "\n")
    user.init("codex")
    assert {
        event: len(groups) for event, groups in json.loads(path.read_bytes())["hooks"].items()
    } == dict.fromkeys(events("codex"), 1)


def test_a_group_that_holds_a_hook_of_others_keeps_it(user: User) -> None:
    path = user.write("codex", None)
    user.init("codex")
    settings = json.loads(path.read_bytes())
    settings["hooks"]["Stop"][0]["hooks"].append({"type": "command", "command": "theirs"})
    path.write_text(json.dumps(settings))
    user.undo("codex")
    assert json.loads(path.read_bytes()) == {
        "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "theirs"}]}]}
    }


def test_timeouts_are_in_the_unit_of_each_harness(user: User) -> None:
    timeouts: dict[str, set[int]] = {}
    for harness in IN_JSON:
        user.init(harness)
        ours = hook_entries.our_hooks(user.file(harness).read_text())
        timeouts[harness] = {handlers[0]["timeout"] for handlers in ours.values()}
    assert timeouts == {"claude-code": {10, 60}, "codex": {3, 10, 60}, "gemini-cli": {10_000, 60_000}}


def test_a_link_to_a_settings_file_stays_a_link(user: User, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_bytes(b'{"a": 1}\n')
    real.chmod(0o640)
    path = user.file("claude-code")
    path.parent.mkdir()
    path.symlink_to(real)
    user.init("claude-code")
    assert path.is_symlink()
    assert b"hooks" in real.read_bytes()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert os.listdir(real.parent) == ["claude.json"]
    user.undo("claude-code")
    assert (path.is_symlink(), real.read_bytes(), stat.S_IMODE(real.stat().st_mode)) == (
        True,
        b'{"a": 1}\n',
        0o640,
    )


@pytest.mark.parametrize("harness", HARNESSES)
def test_a_project_can_not_lead_us_out_of_its_folder(user: User, tmp_path: Path, harness: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"{}")
    path = user.file(harness, "project")
    path.parent.mkdir(parents=True)
    path.symlink_to(victim)
    with pytest.raises(Refused, match="leads out"):
        user.init(harness, "project")
    assert victim.read_bytes() == b"{}"


def test_a_linked_folder_of_a_project_can_not_lead_us_out_either(user: User, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (user.place.project / ".claude").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="leads out"):
        user.init("claude-code", "project")
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_link_to_nowhere_and_a_folder_are_refused(user: User, tmp_path: Path) -> None:
    path = user.file("claude-code")
    path.parent.mkdir()
    path.symlink_to(tmp_path / "no" / "such" / "file")
    with pytest.raises(Refused, match="there is no folder"):
        user.init("claude-code")
    path.unlink()
    path.mkdir()
    with pytest.raises(Refused, match="not a regular file"):
        user.init("claude-code")


def test_a_file_that_changed_after_the_plan_is_not_touched(user: User) -> None:
    path = user.write("claude-code", b"{}")
    installation = user.installation()
    planned = installation.plan(["claude-code"])
    path.write_bytes(b'{"a": 1}')
    with pytest.raises(Refused, match="changed meanwhile"):
        installation.apply(planned)
    assert path.read_bytes() == b'{"a": 1}'
    user.undo("claude-code")
    assert path.read_bytes() == b'{"a": 1}'


def test_a_damaged_backup_is_not_restored(user: User) -> None:
    path = user.write("claude-code", b'{"a": 1}')
    user.init("claude-code")
    backups = {file: json.loads(file.read_bytes()) for file in (user.settings.home / "installation").iterdir()}
    ((backup, kept),) = [(file, each) for file, each in backups.items() if each["path"] == str(path)]
    backup.write_text(json.dumps({**kept, "before": "e30="}))
    with pytest.raises(Refused, match="damaged"):
        user.undo("claude-code")
    assert b"hooks" in path.read_bytes()


def test_a_user_s_setting_and_a_project_s_do_not_record_everything_twice(user: User) -> None:
    user.init("codex")
    planned = user.init("codex", "project")
    assert (planned.edit.action, "twice" in planned.notes[0]) == ("keep", True)
    assert not user.file("codex", "project").exists()


def test_a_foreign_plugin_of_our_name_is_refused(user: User) -> None:
    path = user.write("opencode", b"export const Mine = 1;\n")
    with pytest.raises(Refused, match="another file"):
        user.init("opencode")
    user.undo("opencode")
    assert path.read_bytes() == b"export const Mine = 1;\n"


def test_harnesses_are_found_by_program_or_folder(user: User, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--agent"):
        user.installation().find_harnesses()
    (user.place.home / ".codex").mkdir()
    program = tmp_path / "bin" / "gemini"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    user.place.environment["PATH"] = str(program.parent)  # type: ignore[index]
    assert user.installation().find_harnesses() == ["codex", "gemini-cli"]


@pytest.mark.parametrize(
    ("version", "refused"),
    [("2.1.39 (Claude Code)", True), ("2.1.101 (Claude Code)", False), ("2.2.0", False), ("no idea", False)],
)
def test_a_version_that_would_ignore_all_its_settings_is_refused(
    user: User, tmp_path: Path, version: str, refused: bool
) -> None:
    path = user.write("claude-code", b"{}")
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    user.place.environment["PATH"] = str(program.parent)  # type: ignore[index]
    if refused:
        with pytest.raises(Refused, match=r"update it to 2\.1\.101"):
            user.init("claude-code")
    else:
        user.init("claude-code")
    assert (path.read_bytes() == b"{}") is refused


def test_variables_move_the_settings(user: User, tmp_path: Path) -> None:
    user.place.environment.update(  # type: ignore[attr-defined]
        CLAUDE_CONFIG_DIR=str(tmp_path / "c"),
        CODEX_HOME=str(tmp_path / "x"),
        GEMINI_CLI_HOME=str(tmp_path / "g"),
        XDG_CONFIG_HOME=str(tmp_path / "o"),
    )
    assert [str(user.file(harness).relative_to(tmp_path)) for harness in HARNESSES] == [
        "c/settings.json",
        "x/hooks.json",
        "g/.gemini/settings.json",
        "o/opencode/plugin/session-continuity.js",
    ]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(IN_JSON),
    st.dictionaries(
        st.sampled_from(["hooks", "model", "statusLine", "env", "a\nb", ""]),
        st.dictionaries(
            st.sampled_from(["Stop", "SessionStart", "PreToolUse", "x"]),
            st.lists(
                st.fixed_dictionaries(
                    {"hooks": st.lists(st.fixed_dictionaries({"command": st.text(max_size=4)}), max_size=2)}
                ),
                max_size=2,
            ),
            max_size=3,
        ),
        max_size=4,
    ),
    st.sampled_from([None, 0, 2, "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_the_settings_hold_undo_restores_them(
    harness: str, content: dict[str, Any], indent: int | str | None, newline: str
) -> None:
    content.pop("statusLine", None)
    original = json.dumps(content, indent=indent).replace("\n", newline).encode()
    with tempfile.TemporaryDirectory() as folder:
        user = make_user(Path(folder))
        path = user.write(harness, original)
        user.init(harness)
        installed = path.read_bytes()
        assert set(hook_entries.our_hooks(installed.decode())) == events(harness)
        assert foreign(installed) == foreign(original)
        user.init(harness)
        assert path.read_bytes() == installed
        user.undo(harness)
        assert path.read_bytes() == original
