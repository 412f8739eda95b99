"""The readers of the agents' own recordings, by harness."""

from __future__ import annotations

from collections.abc import Callable

from session_continuity.capture.harnesses import claude_code, codex, gemini_cli, opencode
from session_continuity.capture.harnesses.transcript_reader import TranscriptReader

READERS: dict[str, Callable[[], TranscriptReader]] = {
    "claude-code": claude_code.transcript_reader,
    "codex": codex.transcript_reader,
    "gemini-cli": gemini_cli.transcript_reader,
    "opencode": opencode.transcript_reader,
}
"""Each makes a new reader for one recording."""
