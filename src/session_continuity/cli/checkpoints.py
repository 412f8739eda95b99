"""continuity checkpoints: the saved work states."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import click

from session_continuity.cli.arguments import (
    CHECKPOINT_TYPE,
    JSON_OBJECT,
    Call,
    Group,
    before_option,
    context_percent_option,
    instance_argument,
    limit_option,
    operation_option,
    pass_call,
)
from session_continuity.cli.output import json_text, write_fields, write_note, write_table, write_text

if TYPE_CHECKING:
    from session_continuity.domain.checkpoints import Checkpoint
    from session_continuity.domain.comparison import Comparison


@click.group(cls=Group)
def checkpoints() -> None:
    """Take checkpoints, show them and verify recovery from them."""


@checkpoints.command(
    "take", examples=("continuity checkpoints take consilio-PS-abc123 --reason 'before the merge'",)
)
@instance_argument
@click.option(
    "--type", "checkpoint_type", type=CHECKPOINT_TYPE, default="manual", show_default=True, help="Its kind."
)
@click.option("--reason", help="Why it is taken.")
@context_percent_option
@click.option("--metadata", type=JSON_OBJECT, help="A JSON object.")
@operation_option
@pass_call
def take_checkpoint(
    call: Call,
    *,
    instance_id: str,
    checkpoint_type: Literal["manual", "automatic"],
    reason: str | None,
    context_percent: int | None,
    metadata: Any,
    operation: str | None,
) -> None:
    """Save an instance's work state as it is now."""
    taken = call.client.take_checkpoint(
        instance_id,
        checkpoint_type=checkpoint_type,
        context_window_percent=context_percent,
        reason=reason,
        metadata=metadata,
        operation=operation,
    )
    call.answer(taken, lambda: _show_head(taken))


@checkpoints.command("list")
@click.argument("instance_id", metavar="[INSTANCE_ID]", required=False)
@click.option("--type", "checkpoint_type", type=CHECKPOINT_TYPE, help="Only of this kind.")
@before_option
@limit_option(100)
@pass_call
def list_checkpoints(
    call: Call,
    *,
    instance_id: str | None,
    checkpoint_type: Literal["manual", "automatic"] | None,
    before: datetime | None,
    limit: int,
) -> None:
    """List the checkpoints of one instance or of all, the latest first."""
    found = call.client.list_checkpoints(instance_id, checkpoint_type=checkpoint_type, before=before, limit=limit)
    call.answer(found, lambda: _show_table(found))


@checkpoints.command("show")
@click.argument("checkpoint_id", type=click.UUID)
@pass_call
def show_checkpoint(call: Call, checkpoint_id: UUID) -> None:
    """Show one checkpoint with its work state."""
    found = call.client.get_checkpoint(checkpoint_id)
    call.answer(found, lambda: _show(found))


@checkpoints.command("latest")
@instance_argument
@pass_call
def latest_checkpoint(call: Call, instance_id: str) -> None:
    """Show an instance's latest checkpoint with its work state."""
    found = call.client.latest_checkpoint(instance_id)
    call.answer(found, lambda: _show(found))


@checkpoints.command("verify", examples=("continuity checkpoints verify consilio-PS-abc123",))
@instance_argument
@click.pass_context
@pass_call
def verify_checkpoints(call: Call, ctx: click.Context, instance_id: str) -> None:
    """Compare recovery (checkpoint and later events) with a full replay, byte for byte."""
    from session_continuity.domain.work_state import canonical, state_hash

    recovered = call.client.recover_state(instance_id)
    replayed = call.client.replay_events(instance_id, until=recovered.sequence_num)
    states = [canonical(recovered.work_state), canonical(replayed.work_state)]
    identical = states[0] == states[1]
    answer: dict[str, object] = {
        "instance_id": instance_id,
        "sequence_num": recovered.sequence_num,
        "identical": identical,
        "checkpoint_id": recovered.checkpoint_id,
        "events_folded": recovered.events_folded,
        "events_replayed": replayed.events_folded,
        "recovered_hash": state_hash(states[0]),
        "replayed_hash": state_hash(states[1]),
        "bytes": len(states[0]),
        "distrusted": recovered.distrusted,
    }
    call.answer(answer, lambda: write_fields(answer))
    if not identical or recovered.distrusted:
        ctx.exit(1)


@checkpoints.command(
    "compare",
    examples=(
        "continuity checkpoints compare 0190a000-0000-7000-8000-000000000001 0190a000-0000-7000-8000-000000000002",
    ),
)
@click.argument("before_id", type=click.UUID)
@click.argument("after_id", type=click.UUID)
@pass_call
def compare_checkpoints(call: Call, before_id: UUID, after_id: UUID) -> None:
    """Show what changed in the work state from one checkpoint to another."""
    comparison = call.client.compare_checkpoints(before_id, after_id)
    answer = {
        "before": _head(comparison.before),
        "after": _head(comparison.after),
        "differences": comparison.differences,
    }
    call.answer(answer, lambda: _show_differences(comparison))


def _show_differences(comparison: Comparison) -> None:
    write_table(
        ("change", "where", "before", "after"),
        [
            (each.change, " / ".join(map(str, each.path)), each.before, each.after)
            for each in comparison.differences
        ],
        nothing="no difference",
    )


def _head(checkpoint: Checkpoint) -> dict[str, Any]:
    """All but the work state."""
    names = [name for name in checkpoint.__dataclass_fields__ if name != "work_state"]
    return {name: getattr(checkpoint, name) for name in names}


def _show_head(checkpoint: Checkpoint) -> None:
    write_fields(_head(checkpoint))


def _show(checkpoint: Checkpoint) -> None:
    hashed = "with" if checkpoint.state_hash else "without"
    write_note(
        f"checkpoint {checkpoint.checkpoint_id} of {checkpoint.instance_id}"
        f" at event {checkpoint.sequence_num}, {checkpoint.checkpoint_type}, {hashed} a hash"
    )
    write_text(json_text(checkpoint.work_state, indented=True))


def _show_table(found: list[Checkpoint]) -> None:
    write_table(
        ("checkpoint_id", "instance_id", "number", "when", "type", "context", "reason"),
        [
            (
                checkpoint.checkpoint_id,
                checkpoint.instance_id,
                checkpoint.sequence_num,
                checkpoint.timestamp,
                checkpoint.checkpoint_type,
                checkpoint.context_window_percent,
                checkpoint.metadata.get("reason"),
            )
            for checkpoint in found
        ],
        nothing="no checkpoints",
    )
