"""The hooks of a real session and its transcript tell the same: by key where ids are shared, and by meaning."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.actions import SHELL_TOOLS
from session_continuity.capture.facts.facts import Fact, HookFacts, Problem
from session_continuity.capture.facts.transcripts import fields, open_lines, parts_text
from session_continuity.capture.harnesses import claude_code, codex, gemini_cli

from .payloads import RECORDINGS, read_captured

READ = {
    "claude": claude_code.read_transcript,
    "codex": codex.read_transcript,
    "gemini": gemini_cli.read_transcript,
}
CAPTURED = RECORDINGS / "transcripts" / "captured"


def hooked(folder: str) -> dict[str, list[Fact]]:
    """What the hooks told, by session in their order."""
    told = read_captured(folder)
    if not told or not (CAPTURED / folder).is_dir():
        pytest.skip(f"no captured session of {folder} below {RECORDINGS}; set CONTINUITY_RECORDINGS")
    sessions: dict[str, list[Fact]] = {}
    for found in told:
        sessions.setdefault(found.harness_session_id or "", []).extend(found.facts)
    return sessions


def transcribed(folder: str) -> dict[str, list[Fact]]:
    """What the transcripts of the same run tell, by session."""
    sessions: dict[str, list[Fact]] = {}
    for path in sorted((CAPTURED / folder).rglob("*.jsonl")):
        told = [fact for fact in READ[folder](open_lines(path)) if not isinstance(fact, Problem)]
        started = told[0]
        assert isinstance(started, facts.SessionStarted)
        sessions[started.harness_session_id or path.stem] = told
    return sessions


def calls(found: Iterable[Fact]) -> dict[str, facts.ToolCalled]:
    return {fact.key: fact for fact in found if isinstance(fact, facts.ToolCalled)}


def outcomes(found: Iterable[Fact]) -> dict[str, facts.ToolFinished]:
    return {fact.key: fact for fact in found if isinstance(fact, facts.ToolFinished)}


def prompts(found: Iterable[Fact]) -> list[tuple[str, str]]:
    return [(fact.text, fact.source) for fact in found if isinstance(fact, facts.PromptSubmitted)]


def subagents(found: Iterable[Fact]) -> set[str]:
    return {fact.key for fact in found if isinstance(fact, facts.SubagentStarted | facts.SubagentEnded)}


def test_claude_codes_hooks_and_transcripts_tell_the_same_calls_under_the_same_keys() -> None:
    hooks, transcripts = hooked("claude"), transcribed("claude")
    assert set(hooks) == set(transcripts)
    assert len(hooks) == 2
    for session, told in hooks.items():
        written = transcripts[session]
        assert calls(told).keys() == calls(written).keys()
        for key, call in calls(told).items():
            same = calls(written)[key]
            assert (call.tool, call.action, call.parameters, call.subagent) == (
                same.tool, same.action, same.parameters, same.subagent,
            )  # fmt: skip
        assert outcomes(told).keys() == outcomes(written).keys()
        for key, finished in outcomes(told).items():
            same_end = outcomes(written)[key]
            assert (finished.outcome, finished.error) == (same_end.outcome, same_end.error)
            assert words(finished.result) == words(same_end.result) or is_delegation(finished)
        assert subagents(told) == subagents(written)


def words(result: facts.JSON) -> str:
    """A subagent's own transcript holds a result's words alone, without its structure."""
    told = fields(result)
    return str(told.get("stdout") or told.get("output") or parts_text(result))


def is_delegation(finished: facts.ToolFinished) -> bool:
    """What a subagent handed back is shortened in the captured files, in each in its own way."""
    return finished.call is not None and finished.call.action == "spawn_subagent"


def test_claude_codes_prompts_and_compaction_are_the_transcripts() -> None:
    (main,) = (told for session, told in hooked("claude").items() if session.startswith("1111"))
    (written,) = (told for session, told in transcribed("claude").items() if session.startswith("1111"))
    assert prompts(main) == prompts(written)
    (hook_tells,) = (fact for fact in main if isinstance(fact, facts.ContextCompacted))
    (file_tells,) = (fact for fact in written if isinstance(fact, facts.ContextCompacted))
    assert hook_tells.trigger == file_tells.trigger == "manual"
    assert hook_tells.summary
    assert hook_tells.summary in (file_tells.summary or "")


def test_codexs_hooks_and_rollouts_tell_the_same_calls_under_the_same_keys() -> None:
    hooks, transcripts = hooked("codex"), transcribed("codex")
    assert set(hooks) == set(transcripts)
    for session, told in hooks.items():
        written = transcripts[session]
        assert prompts(told) == prompts(written)
        assert calls(told).keys() == calls(written).keys()
        for key, call in calls(told).items():
            same = calls(written)[key]
            assert (call.action, call.subagent) == (same.action, same.subagent)
            assert call.tool == same.tool or {call.tool, same.tool} <= SHELL_TOOLS
        assert outcomes(told).keys() == outcomes(written).keys()
        for key, finished in outcomes(told).items():
            same_end = outcomes(written)[key]
            assert isinstance(finished.result, dict)
            assert isinstance(same_end.result, dict)
            assert finished.result["output"] == same_end.result["output"]
            shell = finished.call is not None and finished.call.tool in SHELL_TOOLS
            assert finished.outcome == ("unknown" if shell else same_end.outcome)
        assert subagents(told) == subagents(written)


def test_geminis_hooks_and_transcript_tell_the_same_in_meaning() -> None:
    (told,) = hooked("gemini").values()
    (written,) = transcribed("gemini").values()
    assert prompts(told) == prompts(written)

    def ends(found: Iterable[Fact]) -> list[tuple[str, str]]:
        return sorted((str(fact.result), fact.outcome) for fact in outcomes(found).values())

    assert ends(told) == ends(written)
    assert sorted(str(call.parameters) for call in calls(told).values()) == sorted(
        str(call.parameters) for call in calls(written).values()
    )
    measured = {fact.percent for fact in written if isinstance(fact, facts.ContextMeasured)}
    assert {fact.percent for fact in told if isinstance(fact, facts.ContextMeasured)} == measured


def test_each_call_that_hooks_begin_in_a_captured_session_is_ended_by_them() -> None:
    for folder in ("claude", "codex", "opencode"):
        told: list[HookFacts] = read_captured(folder)
        if not told:
            pytest.skip(f"no captured payloads below {RECORDINGS}; set CONTINUITY_RECORDINGS")
        begun = {key.removeprefix("call:") for found in told for key in calls(found.facts)}
        assert begun
        assert {key.removeprefix("result:") for found in told for key in outcomes(found.facts)} == begun
