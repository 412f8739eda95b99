"""Events derived from commands: every rule's own examples, how a line is read, who is to blame, user rules."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_continuity.capture.derivation.derivation import (
    DerivedEvent,
    FinishedCommand,
    check_rules,
    derive,
    load_rules,
)
from session_continuity.capture.facts import facts
from session_continuity.capture.facts.shell_commands import segments
from session_continuity.capture.facts.transcripts import open_lines
from session_continuity.capture.harnesses import claude_code
from session_continuity.domain.errors import InvalidInput

FIXTURES = Path(__file__).parent / "fixtures"


def ran(command: str, output: str = "", exit_code: int = 0, **more: Any) -> list[DerivedEvent]:
    result = {"stdout": output, "stderr": "", "interrupted": False}
    return derive(
        FinishedCommand(
            tool="Bash",
            parameters={"command": command},
            result=result if exit_code == 0 else {"exit_code": exit_code, "output": output},
            outcome="success" if exit_code == 0 else "failure",
            error=f"Exit code {exit_code}\n{output}" if exit_code else None,
            **more,
        )
    )


def types(found: list[DerivedEvent]) -> list[str]:
    return [event.event_type for event in found]


def test_every_rule_keeps_its_own_examples() -> None:
    assert check_rules(load_rules()) == []


def test_every_rule_has_an_example_that_matches_and_one_that_does_not() -> None:
    for rule in load_rules().rules:
        assert any(example.events for example in rule.examples), rule.name
        assert any(not example.events for example in rule.examples), rule.name


@pytest.mark.parametrize(
    ("command", "programs"),
    [
        ("cd x && FOO=1 timeout -k 5 60 uv run pytest -q | tail -5", ["cd x", "pytest -q", "tail -5"]),
        ('echo "git commit"; grep pytest file', ["echo git commit", "grep pytest file"]),
        ("bash -lc 'cd a && cargo test --all'", ["cd a", "cargo test --all"]),
        ('sudo -u me env A=1 bash -ec "ruff check . && mypy src"', ["ruff check .", "mypy src"]),
        ("pytest \\\n  -q \\\n  tests # all of them; rm x", ["pytest -q tests"]),
        ("docker compose -f x.yml exec -T web pytest", ["pytest"]),
        ("python3.12 -m pytest -x 2>&1 | tee out.txt", ["pytest -x", "tee out.txt"]),
        ("./node_modules/.bin/vitest run", ["vitest run"]),
        ("cat > a.py <<'EOF'\npytest; git commit\nEOF\npython a.py", ["cat", "python a.py"]),
        ("A=$(pytest; rm x) B='a b' echo hi", ["echo hi"]),
        ("if ! pytest; then echo bad; fi", ["pytest", "echo bad"]),
        ("x <<< 'a && b' && y", ["x", "y"]),
    ],
)
def test_a_command_line_is_taken_apart_into_its_programs(command: str, programs: list[str]) -> None:
    assert [" ".join(segment.words) for segment in segments(command)] == programs


@pytest.mark.parametrize(
    ("command", "output", "exit_code", "expected"),
    [
        ("pytest | tail -1", "", 0, []),
        ("set -o pipefail; pytest | tail -1", "", 0, ["test_passed"]),
        ("pytest || true", "", 0, []),
        ("pytest || true", "1 failed in 0.10s", 0, ["test_failed"]),
        ("pytest; echo done", "", 0, []),
        ("pytest; echo done", "2 passed in 0.10s", 0, ["test_passed"]),
        ("cd api && pytest", "", 1, ["test_failed"]),
        ("make lint && make test", "", 2, []),
        ("make lint && make test", "1 failed in 0.10s", 2, ["validation_passed", "test_failed"]),
        ("pytest && git push", "", 1, []),
        ("pytest --cov-fail-under=90", "2 passed in 0.10s\nFAIL Required coverage", 1, ["test_failed"]),
        ("if pytest; then echo good; fi", "", 0, []),
        ("go test ./... | head -2", "ok  \ta\t0.1s\nok  \tb\t0.1s", 0, []),
        ("go test ./... | head -3", "ok  \ta\t0.1s\nok  \tb\t0.1s", 0, ["test_passed"]),
        ("go test ./... 2>&1 | head -n 20", "ok  \ta\t0.1s\nok  \tb\t0.1s", 0, ["test_passed"]),
        ("go test ./... | grep ok | head", "\n".join(["ok  \ta\t0.1s"] * 10), 0, []),
        ("go test ./... | head -n $N", "ok  \ta\t0.1s", 0, []),
        ("go test ./... | head -1", "FAIL\ta\t0.1s", 0, ["test_failed"]),
        ("tsc | head; make test", "1 passed in 0.1s", 0, ["test_passed"]),
        ("eslint . && tsc", "", 0, ["validation_passed", "validation_passed"]),
        ("eslint . 2>&1 | grep error | tail -3", "", 0, []),
        ("eslint . | tee log | tail -3", "", 1, []),
        ("pytest &", "", 0, []),
        ("ruff check . ; pytest", "2 passed in 0.10s", 0, ["test_passed"]),
    ],
)
def test_the_exit_code_speaks_only_for_the_program_it_belongs_to(
    command: str, output: str, exit_code: int, expected: list[str]
) -> None:
    assert types(ran(command, output, exit_code)) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cd api && pytest -q 2>&1 | tail -5", ["test_started"]),
        ("ruff check . && vercel deploy", ["deployment_started"]),
        ("git commit -m x", []),
        ("pytest --collect-only", []),
        ("echo pytest", []),
    ],
)
def test_a_test_or_deployment_in_the_background_has_started(command: str, expected: list[str]) -> None:
    for tool, name, result in (
        ("Bash", "command", {"stdout": "", "stderr": "", "backgroundTaskId": "b1"}),
        ("exec_command", "cmd", {"output": "", "process_id": "7"}),
    ):
        started = FinishedCommand(tool=tool, parameters={name: command}, result=result, outcome="success")
        assert types(derive(started)) == expected
        assert all(event.data["command"] == command for event in derive(started))


def test_a_background_command_that_still_runs_when_asked_for_tells_nothing_anew() -> None:
    still = {"task": {"status": "running"}, "command": "pytest"}
    for tool in ("TaskOutput", "write_stdin"):
        asked = FinishedCommand(tool=tool, parameters={"task_id": "b1"}, result=still, outcome="success")
        assert derive(asked) == []


def test_a_background_command_tells_its_outcome_when_its_output_is_fetched() -> None:
    found = claude_code.read_transcript(open_lines(FIXTURES / "claude_2_1.jsonl"))
    fetched = next(fact for fact in found if isinstance(fact, facts.ToolFinished) and fact.tool_call_id == "t10")
    told = derive(
        FinishedCommand(tool="TaskOutput", parameters={}, result=fetched.result, outcome=fetched.outcome)
    )
    assert [(event.event_type, event.data["passed"]) for event in told] == [("test_passed", 4)]


@pytest.mark.parametrize(
    "command",
    [
        FinishedCommand(
            tool="exec_command", parameters={"cmd": "pytest"}, result="3 passed in 0.10s", outcome="success"
        ),
        FinishedCommand(
            tool="shell",
            parameters={"command": ["bash", "-lc", "cd a && pytest"]},
            result={"output": "3 passed in 0.10s", "exit_code": 0},
            outcome="success",
        ),
        FinishedCommand(
            tool="write_stdin",
            parameters={"session_id": 7},
            result={"output": "3 passed in 0.10s", "exit_code": 0, "command": "pytest"},
            outcome="success",
        ),
        FinishedCommand(
            tool="Bash",
            parameters={"command": "pytest"},
            result=[{"type": "text", "text": "3 passed in 0.10s"}],
            outcome="success",
        ),
    ],
)
def test_the_output_of_every_harness_is_understood(command: FinishedCommand) -> None:
    assert [(event.event_type, event.data["passed"]) for event in derive(command)] == [("test_passed", 3)]


def test_a_cancelled_command_gives_no_event() -> None:
    assert (
        derive(FinishedCommand(tool="Bash", parameters={"command": "pytest"}, result="", outcome="cancelled"))
        == []
    )


def test_a_command_that_never_ran_fails_no_test() -> None:
    denied = FinishedCommand(
        tool="Bash", parameters={"command": "pytest"}, result="", outcome="failure", error="permission denied"
    )
    assert derive(denied) == []


def test_at_most_ten_failing_tests_are_named() -> None:
    output = "\n".join(f"FAILED tests/test_a.py::test_{number}" for number in range(40)) + "\n40 failed in 1.00s"
    (event,) = ran("pytest", output, 1)
    assert event.data["failed"] == 40
    assert event.data["failing"] == [f"tests/test_a.py::test_{number}" for number in range(10)]


def test_the_summary_is_found_at_the_end_of_a_huge_output() -> None:
    (event,) = ran("pytest | cat", "x" * 5_000_000 + "\n" + "y\n" * 500_000 + "7 passed in 9.00s\n")
    assert event.data["passed"] == 7


def test_changed_files_are_named_from_the_sessions_folder() -> None:
    command = (
        "cd api && cat > new.py <<'EOF'\nx\nEOF\nrm old.py && mv a.py /tmp/b.py && sed -i 's/x/y/' ../web/c.ts"
    )
    (event,) = ran(command, cwd="/home/ana/shop")
    assert event.data["files"] == [
        {"path": "api/new.py", "change": "modified"},
        {"path": "api/old.py", "change": "deleted"},
        {"path": "api/a.py", "change": "deleted"},
        {"path": "/tmp/b.py", "change": "created"},
        {"path": "web/c.ts", "change": "modified"},
    ]


def test_files_of_a_failed_command_are_not_told() -> None:
    assert ran("rm a.py", "rm: a.py: No such file", 1) == []


def test_a_users_rule_comes_first_replaces_ours_and_is_checked(tmp_path: Path) -> None:
    own = tmp_path / "rules.toml"
    own.write_text(
        """
        [[rule]]
        name = "checker"
        kind = "validation"
        commands = ["./check.sh", "check.sh"]
        failed_when = ['^BAD']
        examples = [
          { command = "./check.sh | tail", output = "BAD x", events = [{ type = "validation_failed" }] },
          { command = "./check.sh | tail", output = "BAD y", events = [{ type = "validation_passed" }] },
        ]
        [[rule]]
        name = "pytest"
        disabled = true
        """
    )
    rules = load_rules(own)
    command = FinishedCommand(
        tool="Bash", parameters={"command": "./check.sh"}, result={"stdout": "BAD"}, outcome="success"
    )
    assert types(derive(command, rules)) == ["validation_failed"]
    assert "pytest" not in [rule.name for rule in rules.rules]
    (failure,) = check_rules(rules)
    assert "checker: example 2" in failure
    assert str(own) in failure


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[[rule", "not TOML"),
        ("x = 1", "only [[rule]] tables"),
        ("[[rule]]\nkind = 'test'", "has no name"),
        ("[[rule]]\nname = 'a'\nkind = 'tset'\ncommands = ['a']", "kind must be one of test"),
        ("[[rule]]\nname = 'a'\nkind = 'test'", "neither commands nor tools"),
        ("[[rule]]\nname = 'a'\nkind = 'record'\ncommands = ['a']", "needs an event"),
        ("[[rule]]\nname = 'a'\nkind = 'test'\ncommands = ['a']\nsummary = ['(']", "not a regular expression"),
        ("[[rule]]\nname = 'a'\nkind = 'test'\ncommands = 'a'", "commands must be of type list"),
        ("[[rule]]\nname = 'a'\nkind = 'test'\ncommands = ['a']\ncolour = 1", "unknown field colour"),
        ("[[rule]]\nname = 'a'\nkind = 'test'\ncommands = ['a']\nexamples = [{ cmd = 'a' }]", "example 1"),
    ],
)
def test_a_bad_rule_file_says_which_file_rule_and_why(tmp_path: Path, content: str, reason: str) -> None:
    own = tmp_path / "rules.toml"
    own.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        load_rules(own)
    assert str(own) in caught.value.message
    assert reason in caught.value.message


def test_a_missing_rule_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.toml"):
        load_rules(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "piece", ["'", "$(", "`", "<<A\n", "a && ", "bash -c '", "A=1 ", "sudo ", "x;", "git commit -m a;"]
)
def test_hostile_command_lines_are_read_in_bounded_time(piece: str) -> None:
    began = time.process_time()
    ran(piece * (200_000 // len(piece)), "." * 80_000)
    assert time.process_time() - began < 10


@given(command=st.text(alphabet="ab '\"\\$(){}<>|&;\n#-=`!EOF", max_size=60), output=st.text(max_size=60))
def test_any_command_line_and_output_are_read_without_an_error(command: str, output: str) -> None:
    for line in (command, f"pytest {command}", f"git commit {command}", f"bash -c '{command}'"):
        ran(line, output)
        ran(line, output, 1)


@given(
    result=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["stdout", "output", "task", "status", "exit_code", "content", "command", "type"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
    tool=st.sampled_from(["Bash", "Write", "Edit", "apply_patch", "Task", "TaskOutput", "write_stdin", "other"]),
)
def test_any_result_is_read_without_an_error(result: Any, tool: str) -> None:
    for parameters in ({"command": "pytest"}, {"file_path": "/a"}, {"input": "*** Add File: a"}, {}):
        told = derive(FinishedCommand(tool=tool, parameters=parameters, result=result, outcome="success"))
        json.dumps([event.data for event in told])
