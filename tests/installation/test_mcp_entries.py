"""The entry of the MCP server in the configuration of every client: printed, put in once, taken out without a
trace, and seen by the real clients."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.clients.conftest import INSTALLED, PROGRAMS

from session_continuity import InvalidInput, Refused
from session_continuity.capture.harnesses import json_text
from session_continuity.capture.harnesses.harness_settings import Place, Scope
from session_continuity.capture.harnesses.mcp_entries import MCP_CLIENTS, SERVER, McpEntry
from session_continuity.capture.setup.file_parts import PlannedEdit
from session_continuity.capture.setup.mcp_configuration import McpConfiguration, http_entry, stdio_entry
from session_continuity.settings import load_settings

from .conftest import User
from .settings_examples import BROKEN, EXAMPLES

URL, VARIABLE = "http://127.0.0.1:7433/mcp", "CONTINUITY_TOKEN"
HTTP = McpEntry(url=URL, token_variable=VARIABLE)
IN_JSON = [name for name in MCP_CLIENTS if name != "codex"]
BROKEN_SERVERS = {
    "servers are a list": b'{"mcpServers": [], "servers": [], "mcp": []}',
    **{name: content for name, content in BROKEN.items() if "hooks" not in name and "event" not in name},
}
TOML_EXAMPLES: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "comment only": b"# nothing yet\n",
    "no newline at the end": b'model = "large"',
    "windows": b'model = "large"\r\n\r\n[features]\r\nhooks = true\r\n',
    "comments": b"""\
# of the team
model = "large"  # do not change

[mcp_servers.docs]   # theirs
command = "docs"
args = [
    "--all",   # every page
]

[mcp_servers.docs.env]
KEY = "[mcp_servers.session-continuity]"

# the end
""",
    "a text like a header": b'note = """\n[mcp_servers.other]\n"""\n',
}
TOML_REFUSED = {
    "not TOML": b"model = \n",
    "not UTF-8": b'a = "\xff"\n',
    "inline": b'mcp_servers = { session-continuity = { command = "x" } }\n',
    "all servers inline": b'mcp_servers = { docs = { command = "x" } }\n',
    "dotted keys": b'[mcp_servers]\nsession-continuity.command = "x"\n',
    "a header in a text": b'note = """\n[mcp_servers.session-continuity]\n"""\n'
    b'[mcp_servers]\nsession-continuity = { command = "x" }\n',
}


class Client:
    """One client's configuration of one user."""

    def __init__(self, user: User, name: str, scope: Scope = "user") -> None:
        self.name = name
        self.place = replace(user.place, scope=scope)
        self.configuration = McpConfiguration(user.settings, self.place)
        self.stdio = stdio_entry(user.settings)

    @property
    def path(self) -> Path:
        return self.configuration.file(self.name)

    def write(self, content: bytes | None) -> None:
        if content is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(content)

    def put(self, entry: McpEntry | None = None) -> PlannedEdit:
        (planned,) = planned_edits = self.configuration.plan(self.name, entry or self.stdio)
        self.configuration.apply(planned_edits)
        return planned

    def undo(self) -> PlannedEdit:
        (planned,) = planned_edits = self.configuration.plan_undo(self.name)
        self.configuration.undo(planned_edits)
        return planned

    def content(self) -> bytes | None:
        return self.path.read_bytes() if self.path.exists() else None

    def entry(self) -> Any:
        return self.configuration.find(self.name)


def examples(name: str) -> dict[str, bytes | None]:
    return TOML_EXAMPLES if name == "codex" else EXAMPLES


CASES = [(name, example) for name in MCP_CLIENTS for example in examples(name)]


@pytest.mark.parametrize("scope", ["user", "project"])
@pytest.mark.parametrize(("name", "example"), CASES)
def test_undo_restores_every_byte_and_writing_twice_is_writing_once(
    user: User, name: str, example: str, scope: Scope
) -> None:
    client, content = Client(user, name, scope), examples(name)[example]
    client.write(content)
    before = sorted(user.place.home.parent.rglob("*"))
    assert client.put().edit.action == ("create" if content is None else "change")
    once = client.content()
    assert client.put().edit.action == "keep"
    assert client.put(HTTP).edit.action == "change"
    assert client.put().edit.action == "change"
    assert client.content() == once or tomllib_or_json(name, client.content()) == tomllib_or_json(name, once)
    client.undo()
    assert client.content() == content
    shutil.rmtree(user.settings.home)
    assert sorted(user.place.home.parent.rglob("*")) == before
    assert client.undo().edit.action == "keep"


def tomllib_or_json(name: str, content: bytes | None) -> Any:
    """What the client reads, without comments."""
    assert content is not None
    if name == "codex":
        return tomllib.loads(content.decode())
    root = json_text.parse_object(content.decode())
    return None if root is None else root.value


@pytest.mark.parametrize(("name", "example"), CASES)
def test_without_a_backup_the_entry_alone_is_taken_out_and_all_else_stays(
    user: User, name: str, example: str
) -> None:
    client, content = Client(user, name), examples(name)[example]
    client.write(content)
    client.put()
    changed = client.content()
    assert changed is not None
    for line in (content or b"").splitlines():  # comments, order and form: a comma after it at most
        assert line.rstrip(b"} \t") in changed
    shutil.rmtree(user.settings.home / "installation")
    client.undo()
    assert client.entry() is None
    left = client.content()
    if left is not None and content is not None and content.strip():
        assert tomllib_or_json(name, left) == (tomllib_or_json(name, content) or {})


@pytest.mark.parametrize("name", MCP_CLIENTS)
def test_the_entry_starts_this_very_program_for_this_data_folder(user: User, name: str) -> None:
    client = Client(user, name)
    client.put()
    entry = client.entry()
    words = entry["command"] if name == "opencode" else [entry["command"], *entry["args"]]
    assert words[0] == os.path.abspath(sys.executable)
    assert words[1:] == ["-I", "-m", "session_continuity", "mcp", "--home", str(user.settings.home)]


@pytest.mark.parametrize("name", MCP_CLIENTS)
def test_over_http_the_token_is_named_and_never_written(
    user: User, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "secret-of-the-test")
    client = Client(user, name)
    client.put(http_entry(URL, VARIABLE))
    assert client.entry()["url"] == URL
    assert "command" not in client.entry()
    written = client.content()
    assert written is not None
    assert VARIABLE.encode() in written
    assert b"secret-of-the-test" not in written
    client.put(http_entry(URL, None))
    assert VARIABLE.encode() not in (client.content() or b"")


@pytest.mark.parametrize("name", MCP_CLIENTS)
def test_what_a_user_has_added_to_the_entry_stays(user: User, name: str) -> None:
    client = Client(user, name)
    client.put()
    text = (client.content() or b"").decode()
    if name == "codex":
        text += 'default_tools_approval_mode = "approve" # mine\n\n[mcp_servers.session-continuity.env]\nA = "1"\n'
    else:
        text = text.replace(f'"{SERVER}": {{', f'"{SERVER}": {{\n"timeout": 7, // mine\n', 1)
    client.path.write_text(text)
    client.put(HTTP)
    entry = client.entry()
    assert entry.get("timeout") == 7 or (entry["default_tools_approval_mode"], entry["env"]) == (
        "approve",
        {"A": "1"},
    )
    assert b"mine" in (client.content() or b"")
    client.undo()
    assert client.entry() is None
    assert client.content() is None or SERVER.encode() not in (client.content() or b"")


@pytest.mark.parametrize(
    ("name", "broken"),
    [(name, broken) for name in IN_JSON for broken in BROKEN_SERVERS] + [("codex", each) for each in TOML_REFUSED],
)
def test_what_can_not_be_read_is_refused_and_left_alone(user: User, name: str, broken: str) -> None:
    client, content = Client(user, name), {**BROKEN_SERVERS, **TOML_REFUSED}[broken]
    if name == "codex":
        content = TOML_REFUSED[broken]
    client.write(content)
    with pytest.raises(InvalidInput, match=str(client.path)) as refused:
        client.put()
    assert "nothing was changed" in refused.value.message
    assert client.content() == content


@pytest.mark.parametrize("name", [name for name in MCP_CLIENTS if name != "claude-code"])
def test_a_project_can_not_lead_us_out_of_its_folder(user: User, name: str, tmp_path: Path) -> None:
    client = Client(user, name, "project")
    (tmp_path / "theirs").write_bytes(b"")
    client.path.parent.mkdir(parents=True, exist_ok=True)
    client.path.symlink_to(tmp_path / "theirs")
    with pytest.raises(Refused, match="leads out"):
        client.put()
    assert (tmp_path / "theirs").read_bytes() == b""


def test_claude_code_s_entry_for_a_project_is_the_user_s_own(user: User) -> None:
    """`.mcp.json` of the project is shared, and the entry holds paths of this machine."""
    below = user.place.project / "src"
    below.mkdir()
    (user.place.project / ".git").mkdir()
    client = Client(user, "claude-code", "project")
    client.configuration = McpConfiguration(user.settings, replace(client.place, project=below))
    client.put()
    projects = json.loads((user.place.home / ".claude.json").read_bytes())["projects"]
    assert list(projects) == [str(user.place.project.resolve())]
    assert not (user.place.project / ".mcp.json").exists()


def test_opencode_s_file_with_comments_is_taken_when_there_is_one(user: User) -> None:
    client = Client(user, "opencode")
    folder = client.path.parent
    folder.mkdir(parents=True)
    (folder / "opencode.jsonc").write_text("{\n  // mine\n}\n")
    client.put()
    assert client.path.name == "opencode.jsonc"
    assert not (folder / "opencode.json").exists()
    assert "// mine" in client.path.read_text()


def test_the_entry_can_go_and_the_hooks_stay(user: User) -> None:
    """Gemini CLI has both in one file."""
    path = user.write("gemini-cli", EXAMPLES["comments"])
    user.init("gemini-cli")
    client = Client(user, "gemini-cli")
    assert client.entry() is not None
    client.undo()
    assert client.entry() is None
    assert user.installation().installed_commands("gemini-cli")
    client.put()
    client.undo()
    user.undo("gemini-cli")
    assert path.read_bytes() == EXAMPLES["comments"]


def test_hooks_come_to_an_entry_that_was_there_and_all_goes_together(user: User) -> None:
    path = user.write("gemini-cli", EXAMPLES["tabs"])
    Client(user, "gemini-cli").put(HTTP)
    user.installation().apply(user.installation().plan(["gemini-cli"], mcp=False))
    assert Client(user, "gemini-cli").entry()["url"] == URL
    user.undo("gemini-cli")
    assert path.read_bytes() == EXAMPLES["tabs"]


@pytest.mark.parametrize(
    "url",
    ["ftp://a/mcp", "127.0.0.1:7433", "http:///mcp", "http://u:p@a/mcp", "http://a/mcp?token=x", "http://a/mcp#x"],
)
def test_a_url_that_can_not_be_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        http_entry(url, None)
    assert refused.value.stable_code == "mcp_url"


@pytest.mark.parametrize("name", ["", "a-b", "1A", "${A}", "sk_live_0123.x"])
def test_a_token_in_the_place_of_its_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        http_entry(URL, name)
    assert refused.value.stable_code == "mcp_token_variable"


LISTED = {"claude-code": "Connected", "codex": "enabled", "gemini-cli": "Connected", "opencode": "connected"}
"""What each real client says of a server that it has started, or that it has switched on."""


@pytest.mark.clients
@pytest.mark.parametrize("scope", ["user", "project"])
@pytest.mark.parametrize("name", LISTED)
def test_real_clients_list_the_entry(tmp_path: Path, database: str, name: str, scope: Scope) -> None:
    program = next(iter(sorted(INSTALLED.glob(PROGRAMS[name]))), None)
    if program is None:
        pytest.skip(f"{name} is not installed in {INSTALLED}; `make test-clients` installs it")
    if scope == "project" and name == "codex":
        pytest.skip("Codex lists a project's servers only after its user has trusted the folder")
    for folder in ("user", "project", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "settings.toml").write_text(f"dsn = {json.dumps(database)}\n")
    place = Place(scope=scope, home=tmp_path / "user", project=tmp_path / "project", environment={"PATH": ""})
    if name == "opencode":
        npmrc = tmp_path / "user" / ".config" / "opencode" / ".npmrc"
        npmrc.parent.mkdir(parents=True)
        npmrc.write_text("offline=true\nfetch-retries=0\n")
    settings = load_settings(home=tmp_path / "data")
    configuration = McpConfiguration(settings, place)
    configuration.apply(configuration.plan(name, stdio_entry(settings)))
    environment = {
        "HOME": str(tmp_path / "user"),
        "PATH": os.pathsep.join([os.path.dirname(shutil.which("node") or "/usr/bin/node"), "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "GEMINI_CLI_NO_RELAUNCH": "true",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
    }
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-r", "-n"]
    done = subprocess.run(
        [*unshare, str(program), "mcp", "list"],
        cwd=tmp_path / "project",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    (line,) = [
        line for line in (done.stdout + done.stderr).splitlines() if SERVER in line and "data" not in line[:9]
    ]
    assert LISTED[name] in line, done.stdout + done.stderr
