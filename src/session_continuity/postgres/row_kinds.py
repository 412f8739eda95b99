"""The kinds of rows that go into archives: their tables, keys and columns, as they are streamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

KindName: TypeAlias = Literal["sessions", "events", "commands", "checkpoints"]
ColumnType: TypeAlias = Literal["text", "integer", "time", "boolean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKind:
    """`columns` with the type that a reader of files gets; text is whatever PostgreSQL writes and reads back
    exactly, also for uuid, jsonb, arrays and bytea, and for times that may be infinite. `stream` and `prune` name
    the statements that read and delete rows."""

    name: KindName
    table: str
    key: str
    stream: str
    prune: str | None
    columns: dict[str, ColumnType]


SESSIONS = RowKind(
    name="sessions",
    table="supervisor_sessions",
    key="instance_id",
    stream="stream_sessions",
    prune=None,
    columns={
        "instance_id": "text", "project": "text", "instance_type": "text", "status": "text",
        "context_percent": "integer", "current_epic": "text", "last_heartbeat": "time", "created_at": "time",
        "closed_at": "text", "thread_id": "text", "owner_epoch": "integer", "superseded_by": "text",
        "last_sequence_num": "integer", "parent_instance_id": "text", "parent_sequence_num": "integer",
        "relation": "text", "harness": "text", "harness_session_id": "text", "host": "text", "pid": "integer",
        "cwd": "text", "git_branch": "text", "git_head": "text", "heartbeat_interval_seconds": "integer",
        "metadata": "text", "legal_hold": "boolean", "process_seen_at": "text",
    },
)  # fmt: skip
EVENTS = RowKind(
    name="events",
    table="event_store",
    key="event_id",
    stream="stream_events",
    prune="prune_events",
    columns={
        "event_id": "text", "instance_id": "text", "event_type": "text", "sequence_num": "integer",
        "event_data": "text", "metadata": "text", "timestamp": "time", "created_at": "time",
        "owner_epoch": "integer",
    },
)  # fmt: skip
COMMANDS = RowKind(
    name="commands",
    table="command_log",
    key="id",
    stream="stream_commands",
    prune="prune_commands",
    columns={
        "id": "integer", "instance_id": "text", "command_type": "text", "action": "text", "tool_name": "text",
        "parameters": "text", "result": "text", "success": "boolean", "error_message": "text",
        "execution_time_ms": "integer", "tags": "text", "context_data": "text", "created_at": "time",
        "owner_epoch": "integer", "operation_id": "text", "tool_call_id": "text", "outcome": "text",
        "started_at": "text", "late": "boolean",
    },
)  # fmt: skip
CHECKPOINTS = RowKind(
    name="checkpoints",
    table="checkpoints",
    key="checkpoint_id",
    stream="stream_checkpoints",
    prune="prune_checkpoints",
    columns={
        "checkpoint_id": "text", "instance_id": "text", "checkpoint_type": "text", "sequence_num": "integer",
        "context_window_percent": "integer", "work_state": "text", "metadata": "text", "timestamp": "time",
        "created_at": "time", "owner_epoch": "integer", "state_hash": "text", "schema_version": "integer",
    },
)  # fmt: skip

PRUNED: tuple[RowKind, ...] = (EVENTS, COMMANDS, CHECKPOINTS)
"""The kinds that are moved; sessions are only copied."""

KINDS: dict[KindName, RowKind] = {kind.name: kind for kind in (SESSIONS, *PRUNED)}
