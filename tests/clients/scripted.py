"""One scripted session of a real client, with the product installed by `continuity init`.

usage: python scripted.py --scripts FOLDER --client NAME --program PROGRAM --dsn DSN --report FILE
                          [--package FOLDER] [--kill | --tool NAME --arguments JSON]

Runs itself in a network namespace of its own in which only loopback is up. `--scripts` names the folder that
holds run_client.py: the scripted model, an empty environment, a temporary home (TMPDIR says where). With
`--package` what `make plugins` built is installed instead. With `--kill` the client gets SIGKILL in the middle of
its first tool call, and is then started once more. With `--tool` the model calls that tool of whatever server has
it, in one session. The report tells what was run and what the model was sent.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY = "stub-key-not-a-credential"
SESSION = "11111111-2222-4333-8444-555555555555"
PROMPT = "Call both tools, then finish."
DELEGATE = "DELEGATE this to a subagent."
SLOW = "SLOW: run the one command."
SECONDS = 120.0


class Script:
    """The client, its settings and the product, all below one temporary folder."""

    def __init__(self, run: Any, harness: str, dsn: str, package: str | None, tool: str | None) -> None:
        self.run, self.harness, self.package, self.tool = run, harness, package, tool
        self.data = Path(run.path("home", ".local", "share", "session-continuity"))
        self.data.mkdir(mode=0o700, parents=True)
        (self.data / "settings.toml").write_text(f"dsn = {json.dumps(dsn)}\nheartbeat_seconds = 0.2\n")
        programs = [str(Path(run.program).parent), str(Path(sys.executable).parent), run.env["PATH"]]
        run.env["PATH"] = os.pathsep.join(programs)
        self.exits: list[int] = []

    def continuity(self, *words: str) -> Any:
        """The product's own command line, as the client's user would run it."""
        done = subprocess.run(
            ["continuity", *words, "--json"],
            cwd=self.run.path("project"),
            env=self.run.env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if not done.stdout.strip():
            raise RuntimeError(f"continuity {' '.join(words)}: {done.stderr}")
        return json.loads(done.stdout)

    def install(self, *place: str) -> None:
        """By `continuity init`, or the package at this place below the home folder."""
        if self.package is None:
            self.continuity("init", "--agent", self.harness, "--yes")
        else:
            shutil.copytree(self.package, self.run.path("home", *place), dirs_exist_ok=True)

    def change(self, file: str, **settings: Any) -> None:
        """The client's user changes a setting, by whatever writes the file anew."""
        path = Path(self.run.path(file))
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))

    def say(self, *words: str) -> None:
        """Run the client once, to its end."""
        with self._running(*words) as process:
            self.exits.append(process.wait(SECONDS))

    def kill_in_a_tool(self, *words: str) -> None:
        """Run the client, and kill it with all that it started while its tool runs."""
        with self._running(*words) as process:
            until = time.monotonic() + SECONDS
            while not self.continuity("commands", "list", "--outcome", "in_flight") and time.monotonic() < until:
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)
            self.exits.append(process.wait(SECONDS))

    def settle(self) -> dict[str, Any]:
        """Wait until all that was captured is stored, then stop the resident server."""
        until = time.monotonic() + SECONDS
        while (listed := self.continuity("spool", "list"))["waiting"] and time.monotonic() < until:
            time.sleep(0.2)
        served = self.continuity("serve", "--status")
        self.continuity("serve", "--stop")
        return {"spool": listed, "serve": served}

    @contextmanager
    def _running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """The client, ended with all that it started when the script can't go on."""
        with Path(self.run.path(f"output-{len(self.exits) + 1}.txt")).open("wb") as output:
            process = subprocess.Popen(
                [self.run.program, *words],
                cwd=self.run.path("project"),
                env=self.run.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def claude(script: Script, kill: bool) -> None:
    run = script.run
    run.env |= {
        "ANTHROPIC_BASE_URL": run.url,
        "ANTHROPIC_API_KEY": KEY,
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    allowed = ["Bash", "Task", "Agent", "mcp__echo", "mcp__session-continuity"]
    run.write("home/.claude/settings.json", {"permissions": {"allow": allowed}})
    script.install("package")
    servers = {"echo": {"command": run.mcp[0], "args": run.mcp[1:], "alwaysLoad": True}}
    common = ["--mcp-config", run.write("mcp.json", {"mcpServers": servers}), "--model", "sonnet", "-p"]
    if script.package:
        common = ["--plugin-dir", run.path("home", "package"), *common]
    if kill:
        script.kill_in_a_tool(*common, "--session-id", SESSION, SLOW)
        script.say(*common, PROMPT)
        return
    script.say(*common, "--session-id", SESSION, PROMPT)
    if script.tool:
        return
    script.say(*common, "--resume", SESSION, DELEGATE)
    script.say(*common, "--resume", SESSION, "/compact keep the plan")
    script.say(*common, "--resume", SESSION, PROMPT)


def codex(script: Script, kill: bool) -> None:
    run = script.run
    run.write(
        "home/.codex/config.toml",
        f"""\
model = "stub-model"
model_provider = "stub"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.stub]
name = "stub"
base_url = "{run.url}/v1"
wire_api = "responses"
env_key = "STUB_KEY"
request_max_retries = 0
stream_max_retries = 0

[mcp_servers.echo]
command = {json.dumps(run.mcp[0])}
args = {json.dumps(run.mcp[1:])}
default_tools_approval_mode = "approve"
""",
    )
    run.env["STUB_KEY"] = KEY
    script.install()
    if script.tool:
        # What a user may add to our table, which stands last: the script's first request needs the tools.
        with Path(run.path("home/.codex/config.toml")).open("a") as config:
            config.write('required = true\ndefault_tools_approval_mode = "approve"\n')
    # The user's trust is given in a dialog; this switch stands for it.
    common = [
        "--skip-git-repo-check",
        "--dangerously-bypass-hook-trust",
        "--dangerously-bypass-approvals-and-sandbox",
    ]
    if kill:
        script.kill_in_a_tool("exec", *common, SLOW)
        script.say("exec", *common, PROMPT)
        return
    script.say("exec", *common, PROMPT)
    if script.tool:
        return
    script.say("exec", "resume", "--last", *common, DELEGATE)
    script.say("exec", "resume", "--last", *common, "-c", "model_auto_compact_token_limit=20000", PROMPT)


def gemini(script: Script, kill: bool) -> None:
    run = script.run
    run.env |= {
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": run.url,
        "GEMINI_TELEMETRY_ENABLED": "false",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
        "NO_BROWSER": "1",
        "GEMINI_CLI_NO_RELAUNCH": "true",
    }
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "telemetry": {"enabled": False},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
        "mcpServers": {"echo": {"command": run.mcp[0], "args": run.mcp[1:]}},
    }
    run.write("home/.gemini/settings.json", settings)
    script.install(".gemini", "extensions", "session-continuity")
    common = ["--model", "gemini-2.5-flash", "--approval-mode", "yolo", "--skip-trust"]
    if kill:
        script.kill_in_a_tool(*common, "-p", SLOW)
        script.say(*common, "-p", PROMPT)
        return
    script.say(*common, "-p", PROMPT)
    if script.tool:
        return
    script.say(*common, "--resume", "latest", "-p", DELEGATE)
    script.change("home/.gemini/settings.json", model={"compressionThreshold": 0.01})
    script.say(*common, "--resume", "latest", "-p", PROMPT)


def opencode(script: Script, kill: bool) -> None:
    run = script.run
    for place in ("home/.npmrc", "home/.config/opencode/.npmrc"):
        run.write(place, "offline=true\nfetch-retries=0\naudit=false\nfund=false\n")
    model = {"name": "stub", "tool_call": True, "limit": {"context": 200_000, "output": 8_000}}
    options = {"baseURL": run.url + "/v1", "apiKey": KEY}
    settings = {
        "share": "disabled",
        "autoupdate": False,
        "model": "stub/stub-model",
        "small_model": "stub/stub-model",
        "permission": "allow",
        "provider": {
            "stub": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "stub",
                "options": options,
                "models": {"stub-model": model},
            }
        },
        "mcp": {"echo": {"type": "local", "command": run.mcp, "enabled": True}},
    }
    run.write("home/.config/opencode/opencode.json", settings)
    names = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "SHARE", "DEFAULT_PLUGINS")
    run.env |= {f"OPENCODE_DISABLE_{name}": "1" for name in names}
    script.install(".config", "opencode")
    if kill:
        script.kill_in_a_tool("run", SLOW)
        script.say("run", PROMPT)
        return
    script.say("run", PROMPT)
    if script.tool:
        return
    script.say("run", "--continue", DELEGATE)
    settings["provider"]["stub"]["models"]["stub-model"]["limit"]["context"] = 45_000
    script.change("home/.config/opencode/opencode.json", provider=settings["provider"])
    script.say("run", "--continue", PROMPT)


CLIENTS: dict[str, Callable[[Script, bool], None]] = {
    "claude-code": claude,
    "codex": codex,
    "gemini-cli": gemini,
    "opencode": opencode,
}


def use_own_model(run: Any, scripts: str, tool: str | None, arguments: str | None) -> None:
    """Let model.py beside this file answer in the place of the model that run_client.py has started."""
    run.stub.terminate()
    run.stub.wait()
    port = Path(run.path("own-port"))
    words = [str(Path(__file__).with_name("model.py")), scripts, "--port-file", str(port), "--log", run.requests]
    if tool:
        words += ["--tool", tool, "--tool-args", arguments or "{}"]
    run.stub = subprocess.Popen([sys.executable, *words])
    while not port.exists() or not port.read_text():
        time.sleep(0.05)
    run.url = f"http://127.0.0.1:{port.read_text()}"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("scripts", "client", "program", "dsn", "report"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--package")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--tool")
    parser.add_argument("--arguments")
    options = parser.parse_args()
    sys.path.insert(0, options.scripts)
    import run_client  # pyright: ignore[reportMissingImports]

    run_client.enter_namespace()
    run = run_client.Run(options.client, options.program, str(Path(options.report).parent / "payloads"))
    use_own_model(run, options.scripts, options.tool, options.arguments)
    script = Script(run, options.client, options.dsn, options.package, options.tool)
    try:
        CLIENTS[options.client](script, options.kill)
        report = script.settle() | {"doctor": script.continuity("doctor", "--no-probe")}
    finally:
        script.continuity("serve", "--stop")
        run.stub.terminate()
        run.stub.wait()
    report |= {"exits": script.exits, "work": run.work, "requests": run.request_text()}
    Path(options.report).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
