"""The hook adapters: what each harness tells its hooks, as facts.

An adapter is a module of pure functions over one payload: no state, no I/O, no error whatever the payload holds.
So a fact may tell again what is known (the model, the permission mode, how full the context is): who records it
drops what did not change. Where hook and transcript tell of the same thing by the same id, the fact has the key
that the transcript's reader gives it (`call:<id>`, `result:<id>`, `plan:<id>`, `subagent:<id>`); everything else
has the name of the spool record as its key, with a part behind a colon where a payload gives several.

What happens inside a subagent is told as a session of its own, as in the subagent's own transcript: its id is the
agent's, `parent_harness_session_id` the session that sent it off. That one hears of it by its own tool call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from session_continuity.capture.facts.facts import HookFacts, Record
from session_continuity.capture.harnesses import claude_code_hooks, codex_hooks, gemini_cli_hooks, opencode_hooks
from session_continuity.capture.harnesses.hook_events import HookCall

__all__ = ["ADAPTERS", "HookAdapter", "HookCall"]


class HookAdapter(Protocol):
    """What every adapter module has."""

    HARNESS: str
    """Its name in the registry and in the spool."""

    EVENTS: Mapping[str, str]
    """The events to subscribe to, each with one sentence on what is recorded."""

    REFUSED: Mapping[str, str]
    """The other events that the harness offers, each with the reason why it is not subscribed to."""

    def read_hook(self, event: str, payload: Record, call: HookCall) -> HookFacts:
        """The facts of one payload. Unknown events and fields give Unmapped, refused events no fact."""
        ...


_MODULES: tuple[HookAdapter, ...] = (claude_code_hooks, codex_hooks, gemini_cli_hooks, opencode_hooks)

ADAPTERS: dict[str, HookAdapter] = {adapter.HARNESS: adapter for adapter in _MODULES}
