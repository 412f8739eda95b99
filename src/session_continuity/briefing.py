"""A continuation made ready for an agent: compared with the real working tree, and put into a brief."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from session_continuity.domain.brief import DEFAULT_TOKENS, Brief, write_brief
from session_continuity.domain.drift import Drift, Workspace, find_drift
from session_continuity.domain.threads import Continued
from session_continuity.workspace import observe_workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What was continued, how the working tree differs from the records, and the brief."""

    continued: Continued
    workspace: Workspace | None
    drift: list[Drift]
    brief: Brief

    def as_json(self) -> dict[str, Any]:
        """The briefing as every face prints it. `instance_id` is who writes now: the successor, or in a dry run
        the session that would be continued."""
        done = self.continued
        instance = done.successor or done.predecessor
        return {
            "instance_id": instance.instance_id,
            "continuation": done.continuation,
            "dry_run": done.successor is None,
            "predecessor": done.predecessor.instance_id,
            "successor": done.successor.instance_id if done.successor else None,
            "thread_id": instance.thread_id,
            "owner_epoch": instance.owner_epoch,
            "sequence_num": done.recovery.sequence_num,
            "checkpoint_id": done.recovery.checkpoint_id,
            "events_folded": done.recovery.events_folded,
            "lineage": done.lineage,
            "brief": self.brief.text,
            "tokens": self.brief.tokens,
            "left_out": self.brief.left_out,
            "work_state": done.recovery.work_state,
            "drift": [asdict(difference) for difference in self.drift],
            "unknown_outcomes": [command._asdict() for command in done.commands.unknown_outcomes],
        }


def brief_continuation(continued: Continued, *, budget: int | None = None, cwd: str | None = None) -> Briefing:
    """Compare the recovered state with the working tree in `cwd` (default: where the session worked) and write
    the brief within `budget` tokens. Raises InvalidInput when the budget is too small."""
    state = continued.recovery.work_state
    recorded = state["workspace"]
    folder = cwd or (recorded["cwd"] if recorded else None) or continued.predecessor.cwd
    observed, drift = None, list[Drift]()
    if folder:
        observed = observe_workspace(
            folder,
            commits=[commit["sha"] for commit in state["commits"]],
            files=[file["path"] for file in state["files"]],
        )
        drift = find_drift(state, observed)
    brief = write_brief(continued, drift, budget=DEFAULT_TOKENS if budget is None else budget)
    return Briefing(continued=continued, workspace=observed, drift=drift, brief=brief)
