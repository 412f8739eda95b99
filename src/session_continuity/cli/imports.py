"""continuity import: transcripts of agents, read into the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from session_continuity.cli.arguments import Call, Group, NumberType, pass_call
from session_continuity.cli.failures import FAILED, exit_code
from session_continuity.cli.output import write_error, write_fields, write_note, write_text
from session_continuity.cli.progress import progress_bar

if TYPE_CHECKING:
    from session_continuity.capture.facts.transcripts import Harness
    from session_continuity.capture.recorder.transcript_import import ImportReport

_T = TypeVar("_T")

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("import", cls=Group)
def import_() -> None:
    """Read the transcripts of agents into the records."""


def _transcript_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.argument("files", metavar="FILE...", type=FILE, nargs=-1, required=True),
            click.option(
                "--until", type=NumberType(1), help="Stop after so many records, as if it had died there."
            ),
            click.option("--project", help="Project of the session (default: the name of its folder)."),
            click.option("--rules", type=FILE, help="Your own derivation rules, tried before the shipped ones."),
        )
    ):
        function = option(function)
    return function


@import_.command("claude-code", examples=("continuity import claude-code ~/.claude/projects/*/*.jsonl --json",))
@_transcript_options
@click.pass_context
@pass_call
def import_claude_code(call: Call, ctx: click.Context, files: tuple[Path, ...], **options: Any) -> None:
    """Import transcripts of Claude Code; importing one again adds only what is missing."""
    _import(call, ctx, "claude-code", files, options)


@import_.command("codex", examples=("continuity import codex ~/.codex/sessions/2026/01/28/rollout-*.jsonl",))
@_transcript_options
@click.pass_context
@pass_call
def import_codex(call: Call, ctx: click.Context, files: tuple[Path, ...], **options: Any) -> None:
    """Import transcripts of Codex; importing one again adds only what is missing."""
    _import(call, ctx, "codex", files, options)


@import_.command("gemini-cli", examples=("continuity import gemini-cli ~/.gemini/tmp/*/chats/session-*.json*",))
@_transcript_options
@click.pass_context
@pass_call
def import_gemini_cli(call: Call, ctx: click.Context, files: tuple[Path, ...], **options: Any) -> None:
    """Import transcripts of Gemini CLI; importing one again adds only what is missing."""
    _import(call, ctx, "gemini-cli", files, options)


@import_.command("opencode", examples=("continuity import opencode ~/.local/share/opencode/opencode.db",))
@_transcript_options
@click.pass_context
@pass_call
def import_opencode(call: Call, ctx: click.Context, files: tuple[Path, ...], **options: Any) -> None:
    """Import every session in databases of OpenCode; importing one again adds only what is missing."""
    _import(call, ctx, "opencode", files, options)


@import_.group("rules", cls=Group)
def rules() -> None:
    """Work on the rules that derive events from commands."""


@rules.command("check", examples=("continuity import rules check my-rules.toml",))
@click.argument("file", type=FILE, required=False)
@click.pass_context
@pass_call
def check_rules(call: Call, ctx: click.Context, file: Path | None) -> None:
    """Run the examples of all derivation rules, of the shipped ones and of those in FILE."""
    from session_continuity.capture.derivation import derivation, derivation_rules

    found = derivation_rules.load_rules(file)
    failures = derivation.check_rules(found)
    examples = sum(len(rule.examples) for rule in found.rules)
    answer = {"rules": len(found.rules), "examples": examples, "failures": failures}

    def show() -> None:
        for failure in failures:
            write_text(failure)
        write_note(f"{len(found.rules)} rules, {examples} examples, {len(failures)} failed")

    call.answer(answer, show)
    if failures:
        ctx.exit(FAILED)


def _import(
    call: Call, ctx: click.Context, harness: Harness, files: Sequence[Path], options: dict[str, Any]
) -> None:
    """One recording after the other; what can't be imported does not keep the rest from it."""
    import gc

    from session_continuity.domain.errors import SessionContinuityError, Unavailable

    gc.enable()
    answers: list[dict[str, Any]] = []
    codes: list[int] = []

    def attempt(file: Path, step: Callable[..., _T], *arguments: Any) -> _T | None:
        try:
            return step(*arguments)
        except Unavailable:
            raise
        except SessionContinuityError as error:
            codes.append(exit_code(error))
            answers.append({"file": str(file), **error.as_json()})
            if not call.as_json:
                write_error(error.message)
            return None

    for file in files:
        for session_id in attempt(file, _sessions, harness, file) or ():
            report = attempt(file, _import_one, call, harness, file, {"session_id": session_id, **options})
            if report is not None:
                answers.append({"file": str(file), **report.as_json()})
                if not call.as_json:
                    _show(file, report)
    call.answer(answers, lambda: None)
    ctx.exit(codes[0] if codes else 0)


def _sessions(harness: Harness, file: Path) -> Sequence[str | None]:
    """The sessions in a recording: OpenCode keeps all of them in one database, the others one in each file."""
    from session_continuity.capture.harnesses.opencode import session_ids

    return session_ids(file) if harness == "opencode" else (None,)


def _import_one(call: Call, harness: Harness, file: Path, options: dict[str, Any]) -> ImportReport:
    from session_continuity.capture.recorder.transcript_import import import_transcript

    with progress_bar(in_bytes=True) as bar:
        progress = bar and partial(bar, file.name)
        return import_transcript(call.client, harness, file, progress=progress, **options)


def _show(file: Path, report: ImportReport) -> None:
    write_fields({"file": file, **{name: value or "" for name, value in report.as_json().items()}})
