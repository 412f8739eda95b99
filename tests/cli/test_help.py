"""Help and completion: complete, quick, and without a database."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from session_continuity.cli import arguments, sessions
from session_continuity.cli.app import COMMANDS, root
from session_continuity.domain import checkpoints, command_log, session_registry

from .conftest import Continuity, leaves

HEAVY = ("psycopg", "rich", "orjson", "asyncio", "session_continuity.client")


@pytest.mark.parametrize("path", [" ".join(path) for path, _ in leaves()])
def test_help_explains_every_option(offline: Continuity, path: str) -> None:
    answer = offline(*path.split(), "--help")
    assert answer.code == 0
    command = {" ".join(words): command for words, command in leaves()}[path]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[-1] in answer.out
            assert parameter.help, f"{path} {parameter.opts}"
    assert {"--json", "--dsn", "--home"} <= {name for parameter in command.params for name in parameter.opts}


def test_the_root_says_of_each_command_what_it_says_itself(offline: Continuity) -> None:
    shown = offline("--help").out
    context = click.Context(root)
    for name, (_, text) in COMMANDS.items():
        command = root.get_command(context, name)
        assert command is not None
        assert (command.help or "").split("\n\n")[0].replace("\n", " ") == text
        assert name in shown
    assert offline("-h").out == shown


def test_each_help_is_one_sentence(offline: Continuity) -> None:
    for path, command in leaves():
        first = (command.help or "").split("\n\n")[0]
        assert first.endswith("."), path
        assert first.count(". ") == 0, path


def test_version(offline: Continuity) -> None:
    answer = offline("--version")
    assert (answer.code, answer.out.split()[0]) == (0, "continuity")


def test_choices_are_those_of_the_records() -> None:
    for choice, values in (
        (arguments.INSTANCE_TYPE, session_registry.INSTANCE_TYPES),
        (arguments.STATUS, session_registry.STATUSES),
        (sessions.RELATION, session_registry.RELATIONS),
        (arguments.OUTCOME, command_log.OUTCOMES),
        (arguments.SEARCHED_OUTCOME, (*command_log.OUTCOMES, "in_flight")),
        (arguments.CHECKPOINT_TYPE, checkpoints.CHECKPOINT_TYPES),
    ):
        assert tuple(choice.choices) == values


@pytest.mark.parametrize(
    "command", ["--help", "sessions --help", "sessions list --help", "resume --help", "--version"]
)
def test_help_loads_neither_driver_nor_drawing(command: str) -> None:
    assert loaded_by(command.split()) == []


def test_completion_loads_no_driver_and_asks_no_database() -> None:
    words = {"_CONTINUITY_COMPLETE": "bash_complete", "COMP_WORDS": "continuity sessions li", "COMP_CWORD": "2"}
    completed = complete(words)
    assert completed == "plain,list\n"
    assert complete({**words, "COMP_WORDS": "continuity re", "COMP_CWORD": "1"}).split() == [
        "plain,resume",
        "plain,rewind",
        "plain,redact",
    ]
    types = complete({**words, "COMP_WORDS": "continuity events find epic_", "COMP_CWORD": "3"})
    assert "plain,epic_started" in types.split()
    choices = complete({**words, "COMP_WORDS": "continuity sessions list --status ", "COMP_CWORD": "4"})
    assert choices.split() == ["plain,active", "plain,stale", "plain,closed"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed(offline: Continuity, shell: str) -> None:
    script = offline("completion", shell).out
    assert "_CONTINUITY_COMPLETE" in script
    assert offline("completion", shell, "--json").document["script"].strip() == script.strip()


def test_an_unknown_shell_is_refused(offline: Continuity) -> None:
    assert offline("completion", "tcsh").code == 2


def loaded_by(given: list[str]) -> list[str]:
    """The heavy modules that a command loads."""
    code = (
        "import json, sys\n"
        f"sys.argv = ['continuity', *{given!r}]\n"
        "from session_continuity.__main__ import main\n"
        "assert main() == 0\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stderr)


def complete(words: dict[str, str]) -> str:
    """What the shell is offered; a database that is asked would fail."""
    environment = {"PATH": "/usr/bin:/bin", "CONTINUITY_DSN": "host=/no/such/folder", **words}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'continuity'; from session_continuity.__main__ import main; main()",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment,
    )
    assert done.stderr == ""
    return done.stdout
