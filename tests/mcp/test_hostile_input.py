"""Hostile arguments for every tool, drawn from its input schema and against it: each gets an answer or a refusal,
nothing of the inside is told, and what is refused has written nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_continuity import SessionContinuity

from .test_errors import INSIDE

TOOLS = {tool["name"]: tool for tool in json.loads((Path(__file__).parent / "tools.json").read_text("utf-8"))}
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": "2025-11-25",
}
COUNTS = """SELECT (SELECT count(*) FROM supervisor_sessions), (SELECT count(*) FROM event_store),
    (SELECT count(*) FROM command_log), (SELECT count(*) FROM checkpoints),
    (SELECT coalesce(sum(last_sequence_num), 0) FROM supervisor_sessions),
    (SELECT count(*) FROM supervisor_sessions WHERE superseded_by IS NOT NULL)"""
HALF_WRITTEN = {
    "a session whose events are not 1 to its last number": """SELECT s.instance_id FROM supervisor_sessions s
        LEFT JOIN event_store e USING (instance_id) GROUP BY s.instance_id, s.last_sequence_num
        HAVING count(e.event_id) <> s.last_sequence_num OR max(e.sequence_num) <> s.last_sequence_num
            OR min(e.sequence_num) <> 1""",
    "a checkpoint without its event": """SELECT c.checkpoint_id FROM checkpoints c LEFT JOIN event_store e
        ON (e.instance_id, e.sequence_num, e.event_type) = (c.instance_id, c.sequence_num, 'checkpoint_created')
        WHERE e.event_id IS NULL""",
    "a fence without a successor": """SELECT o.instance_id FROM supervisor_sessions o
        LEFT JOIN supervisor_sessions n ON n.instance_id = o.superseded_by
        WHERE o.superseded_by IS NOT NULL
            AND (n.thread_id, n.owner_epoch) IS DISTINCT FROM (o.thread_id, o.owner_epoch + 1)""",
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(st.characters(codec=None), max_size=40),
    st.sampled_from([
        "", "\0", "x" * 3_000, "'; DROP TABLE event_store; --", "%s %(x)s", "../../etc/passwd", "{}", "[]", "null",
        "2026-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "99999999999999w", "1,2", "é" * 200,
        "2026-01-01T00:00:00Z," + "9" * 60, "2026-01-01T00:00:00Z,1,2", "\ud800", "demo-PS-abc12\u0131", "last",
    ]),
)  # fmt: skip
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def encoded(message: Any) -> bytes:
    """JSON, with `deep 210` as that many nested lists: too deep for a Python value."""
    text = json.dumps(message)
    return re.sub(r'"deep (\d+)"', lambda match: "[" * int(match[1]) + "1" + "]" * int(match[1]), text).encode()


@dataclass
class Target:
    """The server, the database behind it, and the ids that are in it."""

    http: httpx2.Client
    connection: psycopg.Connection[Any]
    ids: dict[str, list[Any]]
    answers: Counter[str] = field(default_factory=Counter[str])

    def call(self, name: str, arguments: Any) -> None:
        before = self.connection.execute(COUNTS).fetchone()
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": name, "arguments": arguments},
        }
        answer = self.http.post("/mcp", content=encoded(message), headers=HEADERS)
        assert answer.status_code < 500, answer.text
        document = answer.json()
        if "error" in document:
            text, refused = document["error"]["message"], True
        else:
            text, refused = document["result"]["content"][0]["text"], document["result"]["isError"]
        self.answers["refused" if refused else "answered"] += 1
        if refused:
            assert text
            assert not text.startswith("internal:"), text
            # What the caller sent may stand in the refusal; what it did not send may not.
            told = [word for word in INSIDE if word in text.lower() and word not in json.dumps(arguments).lower()]
            assert told == [], text
            assert self.connection.execute(COUNTS).fetchone() == before, text

    def assert_nothing_is_half_written(self) -> None:
        for what, query in HALF_WRITTEN.items():
            assert self.connection.execute(query.encode()).fetchall() == [], what


@pytest.fixture
def target(address: str, client: SessionContinuity, connection: psycopg.Connection[Any]) -> Any:
    """A store with a session of every state in it."""
    names = [client.register_session("demo").instance_id for _ in range(4)]
    client.append_event(names[0], "prompt_submitted", {"text": "go"})
    checkpoint = client.take_checkpoint(names[0])
    client.close_session(names[1])
    client.resume_session(names[2])
    with httpx2.Client(base_url=address, timeout=40) as http:
        yield Target(
            http,
            connection,
            {
                "instance_id": [*names, "demo-PS-zzzzzz"],
                "session": [*names, "demo", "last"],
                "parent_instance_id": names,
                "checkpoint_id": [str(checkpoint.checkpoint_id)],
                "before_id": [str(checkpoint.checkpoint_id)],
                "after_id": [str(checkpoint.checkpoint_id)],
                "command_id": [1],
            },
        )


def by_schema(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema of ours."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "uuid":
        return st.uuids().map(str)
    match schema.get("type"):
        case "string":
            return st.text(max_size=schema.get("maxLength", 60)) | st.sampled_from(
                ["2h", "1 + 1", "x", "2026-01-01T00:00:00Z"]
            )
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(by_schema(schema["items"]), min_size=schema.get("minItems", 0), max_size=4)
        case "object" if "properties" in schema:
            members = {name: by_schema(inner) for name, inner in schema["properties"].items()}
            needed = schema.get("required", [])
            return st.fixed_dictionaries(
                {name: members[name] for name in needed},
                optional={name: inner for name, inner in members.items() if name not in needed},
            )
        case "object":
            return st.dictionaries(st.text(max_size=8), anything, max_size=4)
        case _:
            return anything


BY_SCHEMA = {name: by_schema(tool["inputSchema"]) for name, tool in TOOLS.items()}


@st.composite
def hostile_calls(draw: st.DrawFn, ids: dict[str, list[Any]]) -> tuple[str, Any]:
    """A tool and arguments: by its schema, by its schema but for one argument, or against it."""
    name = draw(st.sampled_from(sorted(TOOLS)))
    known = list(TOOLS[name]["inputSchema"]["properties"])
    kind = draw(
        st.sampled_from(
            ["fits", "fits", "fits", "fits", "one wrong", "one wrong", "any", "unknown", "deep", "no object"]
        )
    )
    if kind == "no object":
        return name, draw(anything)
    if kind == "any":
        return name, draw(st.dictionaries(st.sampled_from(known) | st.text(max_size=10), anything, max_size=6))
    arguments: dict[str, Any] = draw(BY_SCHEMA[name])
    for argument in sorted(set(known) & set(ids)):
        if draw(st.integers(0, 3)):
            arguments[argument] = draw(st.sampled_from(ids[argument]))
    for argument in sorted(set(arguments) - set(TOOLS[name]["inputSchema"].get("required", []))):
        if draw(st.integers(0, 4)):  # few go well together
            del arguments[argument]
    if kind == "one wrong":
        arguments[draw(st.sampled_from(known))] = draw(anything)
    elif kind == "unknown":
        arguments[draw(st.text(min_size=1, max_size=10))] = draw(anything)
    elif kind == "deep":
        arguments[draw(st.sampled_from(known))] = draw(
            st.sampled_from(["deep 50", "deep 190", "deep 210", "deep 3000", "deep 100000"])
        )
    return name, arguments


def attack(target: Target, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(call=hostile_calls(target.ids))
    def run(call: tuple[str, Any]) -> None:
        target.call(*call)

    run()
    target.assert_nothing_is_half_written()
    assert target.answers["answered"] > examples / 25
    assert target.answers["refused"] > examples / 25


@pytest.mark.timeout(300)
def test_hostile_arguments_are_answered_or_refused_and_write_nothing_by_halves(target: Target) -> None:
    attack(target, 250)


@pytest.mark.faults
@pytest.mark.timeout(3_600)
def test_ten_thousand_hostile_arguments(target: Target) -> None:
    attack(target, 10_000)
    print(dict(target.answers))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"\xff\xfe", 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"no/such"}', 404),
        (b"[" * 200_000, 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001, 400),
        (b" " * 5_000_000, 413),
    ],
)
def test_what_is_no_call_is_refused(target: Target, content: bytes, status: int) -> None:
    answer = target.http.post("/mcp", content=content, headers=HEADERS)
    assert answer.status_code in (200, 202, status), answer.text
    assert "Traceback" not in answer.text
    if answer.status_code == 200:
        assert "error" in answer.json()


def test_something_half_written_would_be_seen(target: Target) -> None:
    """The control: a session whose row says more than its stream holds."""
    target.connection.execute("UPDATE supervisor_sessions SET last_sequence_num = 99 WHERE superseded_by IS NULL")
    with pytest.raises(AssertionError, match="last number"):
        target.assert_nothing_is_half_written()
