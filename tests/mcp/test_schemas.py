"""The tool list: as it was agreed, complete, bounded, and short enough for a model's context."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from session_continuity import AsyncSessionContinuity
from session_continuity.mcp_server import create_server
from session_continuity.mcp_server.app import INSTRUCTIONS

from .conftest import LEGACY, MODERN

pytestmark = pytest.mark.anyio

SNAPSHOT = Path(__file__).parent / "tools.json"
TOKENS = 3_500
BYTES_PER_TOKEN = 3.9
"""Of these very schemas, measured: 4.1 with o200k_base (npm gpt-tokenizer), 3.9 with the last tokenizer that
Claude's makers published (npm @anthropic-ai/tokenizer)."""


async def listed(era: str = MODERN) -> list[dict[str, Any]]:
    async with (
        AsyncSessionContinuity(dsn="host=/no/such/folder") as client,
        Client(create_server(client), mode=era) as connected,
    ):
        tools = (await connected.list_tools()).tools
        return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


async def test_the_tool_list_is_as_it_was_agreed() -> None:
    """CONTINUITY_UPDATE_SNAPSHOTS=1 writes it anew; every change is one that agents and their users see."""
    tools = await listed()
    if os.environ.get("CONTINUITY_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(tools, indent=1) + "\n")
    assert tools == json.loads(SNAPSHOT.read_text("utf-8"))
    assert [tool["name"] for tool in await listed(LEGACY)] == [tool["name"] for tool in tools]


async def test_what_a_model_is_given_of_the_tools_fits_3_500_tokens() -> None:
    """Clients give their model the name, the description and the input schema."""
    given = [{name: tool[name] for name in ("name", "description", "inputSchema")} for tool in await listed()]
    size = len(compact(given).encode())
    assert size / BYTES_PER_TOKEN <= TOKENS, f"{size:,} bytes"


async def test_every_tool_is_described_hinted_bounded_and_closed() -> None:
    for tool in await listed():
        name = tool["name"]
        verb, _, noun = name.partition("_")
        assert verb.isalpha(), name
        assert noun.islower(), name
        assert tool["title"], name
        assert tool["description"].endswith("."), name
        assert len(tool["description"]) <= 160, name
        assert set(tool["annotations"]) == {
            "readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint",
        }, name  # fmt: skip
        assert tool["annotations"]["openWorldHint"] is False
        assert tool["inputSchema"]["additionalProperties"] is False, name
        assert tool["outputSchema"]["type"] == "object", name
        assert tool["outputSchema"]["properties"], name
        for argument, schema in tool["inputSchema"]["properties"].items():
            assert is_bounded(schema), (name, argument, schema)
        assert "$ref" not in compact(tool), name
        assert "anyOf" not in compact(tool), name


def is_bounded(schema: dict[str, Any]) -> bool:
    match schema.get("type"):
        case "string":
            return bool({"maxLength", "enum", "format"} & set(schema))
        case "integer":
            return {"minimum", "maximum"} <= set(schema)
        case "array":
            return "maxItems" in schema
        case "boolean" | "object":
            return True
        case _:
            return schema.get("description") == "Any JSON."


async def test_only_what_takes_something_away_is_called_destructive() -> None:
    tools = {tool["name"]: tool["annotations"] for tool in await listed()}
    assert [name for name, hints in tools.items() if hints["destructiveHint"]] == ["resume_session"]
    writes = {name for name, hints in tools.items() if not hints["readOnlyHint"]}
    assert writes == {
        "register_session", "send_heartbeat", "close_session", "resume_session", "fork_session", "append_events",
        "record_note", "record_command", "settle_command", "take_checkpoint",
    }  # fmt: skip
    by_operation = {tool["name"] for tool in await listed() if "operation_id" in tool["inputSchema"]["properties"]}
    assert writes - by_operation == {"send_heartbeat", "settle_command"}
    assert all(tools[name]["idempotentHint"] for name in writes - by_operation)


async def test_the_instructions_are_short_and_name_only_tools_that_exist() -> None:
    assert len(INSTRUCTIONS.split()) <= 200
    names = {tool["name"] for tool in await listed()}
    arguments = {name for tool in await listed() for name in tool["inputSchema"]["properties"]}
    words = {word.strip(".,:;()`") for word in INSTRUCTIONS.split() if "_" in word}
    assert words <= names | arguments | {"next_cursor"}
    async with (
        AsyncSessionContinuity(dsn="host=/no/such/folder") as client,
        Client(create_server(client), mode=LEGACY) as connected,
    ):
        assert connected.instructions == INSTRUCTIONS
