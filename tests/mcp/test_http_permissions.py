"""What a token admits to over HTTP: scopes, projects, rates; and nothing of a project that it is not for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_continuity import SessionContinuity, limited_client
from session_continuity.domain.command_log import NewCommand
from session_continuity.domain.session_registry import Origin
from session_continuity.mcp_server.app import TOOLS

from .conftest import LEGACY, MODERN
from .served import Served, message, serving
from .test_hostile_input import BY_SCHEMA, encoded
from .test_hostile_input import TOOLS as SCHEMAS

SECRET = "vault-combination"
GHOST_ID, GHOST_CHECKPOINT, GHOST_COMMAND, GHOST_PROJECT = (
    "bank-PS-000000",
    "00000000-0000-4000-8000-000000000000",
    9_999_999,
    "tank",
)
COUNTS = """SELECT (SELECT count(*) FROM supervisor_sessions WHERE project = 'bank'),
    (SELECT string_agg(s::text, ',' ORDER BY instance_id) FROM supervisor_sessions s WHERE project = 'bank'),
    (SELECT count(*) FROM event_store e JOIN supervisor_sessions s USING (instance_id) WHERE s.project = 'bank'),
    (SELECT string_agg(c::text, ',' ORDER BY id) FROM command_log c JOIN supervisor_sessions s USING (instance_id)
        WHERE s.project = 'bank'),
    (SELECT count(*) FROM checkpoints c JOIN supervisor_sessions s USING (instance_id) WHERE s.project = 'bank')"""


@pytest.fixture
def served(tmp_path: Path, database: str) -> Iterator[Served]:
    with serving(tmp_path / "home", database, requests_per_second=1_000_000) as running:
        yield running


@dataclass
class Bank:
    """What a project holds that the token is not for."""

    instance_ids: list[str]
    checkpoint_ids: list[str]
    command_ids: list[int]
    own: list[str]

    def ghost(self, value: Any) -> Any:
        """The same with ids of things that are not there."""
        text = json.dumps(value)
        for instance_id in self.instance_ids:
            text = text.replace(instance_id, GHOST_ID).replace(f'"{instance_id[-6:]}"', '"000000"')
        for checkpoint_id in self.checkpoint_ids:
            text = text.replace(checkpoint_id, GHOST_CHECKPOINT)
        for command_id in self.command_ids:
            text = re.sub(rf'"command_id": {command_id}\b', f'"command_id": {GHOST_COMMAND}', text)
        return json.loads(text.replace('"bank"', f'"{GHOST_PROJECT}"').replace("robbery", "nothing"))

    def told(self, answer: str) -> str:
        """An answer without the names that were asked for."""
        answer = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+(?: UTC|Z|\+00:00)?", "TIME", answer)
        for name in (*self.instance_ids, GHOST_ID):
            answer = re.sub(rf"\b({name}|{name[-6:]})\b", "ID", answer)
        for name in (*self.checkpoint_ids, GHOST_CHECKPOINT):
            answer = answer.replace(name, "UUID")
        for command_id in (*self.command_ids, GHOST_COMMAND):
            answer = re.sub(rf"\bcommand {command_id}\b", "command N", answer)
        return re.sub(rf"\b(bank|{GHOST_PROJECT}|robbery|nothing)\b", "NAME", answer)


@pytest.fixture
def bank(client: SessionContinuity) -> Bank:
    """Two projects, their sessions in turns, alike but for what the one must not learn of the other."""
    found = Bank([], [], [], [])
    for project, ids in (("bank", found.instance_ids), ("shop", found.own)) * 3:
        secret = SECRET if project == "bank" else "bread"
        session = client.register_session(
            project, current_epic="robbery" if project == "bank" else "bakery", metadata={"text": secret}
        ).instance_id
        ids.append(session)
        client.append_event(session, "epic_started", {"epic_name": secret}, operation="known")
        client.record_note(session, secret, kind="decision")
        command = client.record_command(
            session,
            NewCommand(command_type="tool", action=secret, tool_call_id="call", parameters={"text": secret}),
        )
        failed = NewCommand(command_type="tool", action=secret, outcome="failure", error_message=secret)
        client.record_command(session, failed)
        checkpoint = client.take_checkpoint(session, reason=secret, operation="taken")
        if project == "bank":
            found.command_ids.append(command.id)
            found.checkpoint_ids.append(str(checkpoint.checkpoint_id))
    resumed = client.resume_session(found.instance_ids[0], operation="resumed").successor
    assert resumed is not None
    found.instance_ids.append(resumed.instance_id)
    client.close_session(found.instance_ids[1])
    child = client.register_session(
        "shop", origin=Origin(parent_instance_id=found.instance_ids[2], relation="spawned")
    )
    found.own.append(child.instance_id)
    return found


@dataclass
class Thief:
    """Someone with a token for the project shop, who knows every id of the bank."""

    http: httpx2.Client
    bank: Bank
    connection: psycopg.Connection[Any]

    def ask(self, method: str, **params: Any) -> tuple[bool, str]:
        """Whether it was refused, and all that was answered."""
        answer = self.http.post("/mcp", content=encoded(message(method, **params)))
        assert answer.status_code < 500, answer.text
        document = answer.json()
        refused = "error" in document or bool(document["result"].get("isError"))
        return refused, answer.text

    def learns_nothing(self, method: str, **params: Any) -> None:
        before = self.connection.execute(COUNTS).fetchone()
        refused, told = self.ask(method, **params)
        assert self.connection.execute(COUNTS).fetchone() == before, (params, told)
        assert SECRET not in told, (params, told)
        sent = json.dumps(params)
        unknown = [each for each in (*self.bank.instance_ids[:2], *self.bank.checkpoint_ids) if each not in sent]
        assert not any(each in told for each in unknown), (params, told)
        ghost_refused, ghost_told = self.ask(method, **self.bank.ghost(params))
        assert refused == ghost_refused, (params, told, ghost_told)
        if refused:
            assert self.bank.told(told) == self.bank.told(ghost_told), params


@pytest.fixture
def thief(served: Served, bank: Bank, connection: psycopg.Connection[Any]) -> Iterator[Thief]:
    with served.http(served.token("write", projects=["shop"])) as http:
        yield Thief(http, bank, connection)


NAMED = {
    "instance_id": "instance_ids",
    "session": "instance_ids",
    "parent_instance_id": "instance_ids",
    "checkpoint_id": "checkpoint_ids",
    "before_id": "checkpoint_ids",
    "after_id": "checkpoint_ids",
    "command_id": "command_ids",
}


@st.composite
def calls_elsewhere(draw: st.DrawFn, bank: Bank) -> tuple[str, dict[str, Any]]:
    """A tool and arguments that fit its schema and name what is another project's."""
    name = draw(st.sampled_from(sorted(SCHEMAS)))
    known = SCHEMAS[name]["inputSchema"]["properties"]
    arguments: dict[str, Any] = draw(BY_SCHEMA[name])
    for argument in sorted(set(arguments) - set(SCHEMAS[name]["inputSchema"].get("required", []))):
        if draw(st.integers(0, 3)):
            del arguments[argument]
    for argument in sorted(known):
        if argument in NAMED and (argument in arguments or draw(st.booleans())):
            arguments[argument] = draw(st.sampled_from(getattr(bank, NAMED[argument])))
    if "session" in known:
        arguments["session"] = draw(
            st.sampled_from([*bank.instance_ids, bank.instance_ids[0][-6:], "bank", "robbery"])
        )
    if "project" in known and name != "get_session" and draw(st.booleans()):
        arguments["project"] = "bank"
    if "tool_call_id" in known and draw(st.booleans()):
        arguments["tool_call_id"] = "call"
    if "operation_id" in known and draw(st.booleans()):
        arguments["operation_id"] = draw(st.sampled_from(["known", "taken", "resumed"]))
    if "event_type" in known and draw(st.booleans()):
        arguments["event_type"] = "epic_started"
    return name, arguments


def steal(thief: Thief, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        report_multiple_bugs=False,
    )
    @given(call=calls_elsewhere(thief.bank))
    def run(call: tuple[str, Any]) -> None:
        name, arguments = call
        thief.learns_nothing("tools/call", name=name, arguments=arguments)

    run()


def simple_calls(bank: Bank) -> list[tuple[str, dict[str, Any]]]:
    """Each tool once for each of the ids, with nothing but what it must have."""
    fill = {
        "project": "bank", "text": "x", "events": [{"event_type": "test_passed"}], "command_type": "tool",
        "action": "run", "outcome": "success", "session": "bank", "query": "bank",
    }  # fmt: skip
    calls: list[tuple[str, dict[str, Any]]] = []
    for name, tool in sorted(SCHEMAS.items()):
        schema = tool["inputSchema"]
        ids = sorted(set(NAMED) & set(schema["properties"]) - {"command_id", "parent_instance_id"})
        for place in range(len(bank.checkpoint_ids)):
            named = {each: getattr(bank, NAMED[each])[place] for each in ids}
            if name == "get_checkpoint":
                calls += [(name, {each: named[each]}) for each in ids]
                continue
            needed = {each: fill[each] for each in schema.get("required", []) if each not in named}
            if name == "settle_command":
                needed["command_id"] = bank.command_ids[place]
            calls.append((name, {**needed, **named}))
    return calls


@pytest.mark.timeout(300)
def test_a_token_of_one_project_learns_and_changes_nothing_of_another_by_any_tool(thief: Thief) -> None:
    calls = simple_calls(thief.bank)
    assert {name for name, _ in calls} >= {tool.name for tool in TOOLS if tool.name not in ("get_system_health",)}
    for name, arguments in calls:
        thief.learns_nothing("tools/call", name=name, arguments=arguments)
    steal(thief, 150)


@pytest.mark.faults
@pytest.mark.timeout(3_600)
def test_ten_thousand_tries_at_another_project(thief: Thief) -> None:
    steal(thief, 10_000)


def test_what_is_found_by_the_ids_of_another_project_is_not_found(thief: Thief) -> None:
    for name, arguments in simple_calls(thief.bank):
        if set(arguments) & {"instance_id", "session", "checkpoint_id", "before_id"} and name not in (
            "register_session",
            "query_events",
            "search_commands",
            "search_records",
            "list_checkpoints",
        ):
            refused, told = thief.ask("tools/call", name=name, arguments=arguments)
            assert refused, (name, told)
            assert re.search(r"not_found|command_not_found", told), (name, told)


def test_no_resource_and_no_prompt_tells_of_another_project(thief: Thief) -> None:
    for place in range(3):
        instance_id, checkpoint_id = thief.bank.instance_ids[place], thief.bank.checkpoint_ids[place]
        for address in (
            f"sessions/{instance_id}",
            f"sessions/{instance_id}/timeline",
            f"sessions/{instance_id}/brief",
            f"sessions/{instance_id}/checkpoints",
            f"checkpoints/{checkpoint_id}",
            "sessions",
        ):
            thief.learns_nothing("resources/read", uri=f"continuity://{address}")
            assert thief.ask("resources/read", uri=f"continuity://{address}")[0] == (address != "sessions")
        for name, arguments in (
            ("resume", {"session": instance_id}),
            ("resume", {"session": instance_id[-6:]}),
            ("resume", {"session": "robbery"}),
            ("resume", {"session": "bank"}),
            ("resume", {}),
            ("handoff", {"instance_id": instance_id}),
            ("standup", {"project": "bank"}),
        ):
            thief.learns_nothing("prompts/get", name=name, arguments=arguments)


@pytest.mark.parametrize("names", [("shop",), ("shop", "mill")])
def test_lists_are_of_the_own_projects_and_their_pages_are_full(
    served: Served, bank: Bank, names: tuple[str, ...]
) -> None:
    with served.http(served.token("read", projects=names)) as http:

        def call(name: str, **arguments: Any) -> Any:
            answer = http.post("/mcp", json=message("tools/call", name=name, arguments=arguments)).json()
            return answer["result"]["structuredContent"]

        seen: list[str] = []
        cursor: dict[str, str] = {}
        for _ in range(2):
            page = call("list_sessions", limit=2, **cursor)
            seen += [each["instance_id"] for each in page["sessions"]]
            cursor = {"cursor": page.get("next_cursor", "")}
        assert sorted(seen) == sorted(bank.own)
        assert cursor == {"cursor": ""}
        for name, rows, more in (
            ("search_commands", "commands", {}),
            ("search_commands", "commands", {"outcome": "failure"}),
            ("list_checkpoints", "checkpoints", {}),
            ("query_events", "events", {"event_type": "epic_started"}),
        ):
            page = call(name, limit=3, **more)
            assert len(page[rows]) == 3, name
            assert {each["instance_id"] for each in page[rows]} <= set(bank.own)
        assert [each["instance_id"] for each in call("get_family", instance_id=bank.own[3])["sessions"]] == [
            bank.own[3]
        ]
        health = call("get_system_health")
        assert (health["active"], health["in_flight"], health["table_bytes"]) == (4, 3, {})
        assert call("get_session", session="last")["instance_id"] in bank.own


def test_its_own_project_is_open_to_it(served: Served, bank: Bank) -> None:
    with served.http(served.token("write", projects=["shop"])) as http:

        def call(name: str, **arguments: Any) -> Any:
            return http.post("/mcp", json=message("tools/call", name=name, arguments=arguments)).json()["result"]

        for name, arguments in (
            ("record_note", {"text": "x"}),
            ("append_events", {"events": [{"event_type": "test_passed"}] * 2, "operation_id": "a"}),
            ("append_events", {"events": [{"event_type": "test_passed"}] * 2, "operation_id": "a"}),
            ("record_command", {"command_type": "tool", "action": "run", "outcome": "success"}),
            ("settle_command", {"tool_call_id": "call", "outcome": "success"}),
            ("take_checkpoint", {}),
            ("get_work_state", {"as_of": "0s"}),
            ("get_timeline", {}),
            ("send_heartbeat", {}),
            ("fork_session", {}),
            ("resume_session", {"operation_id": "r"}),
            ("resume_session", {"operation_id": "r"}),
        ):
            answer = call(name, instance_id=bank.own[0], **arguments)
            assert not answer["isError"], (name, answer)
        assert not call("register_session", project="shop", instance_id="shop-PS-abc123")["isError"]
        for refused, arguments in (
            ("project_not_allowed", {"project": "bank"}),
            ("instance_id_format", {"project": "shop", "instance_id": bank.instance_ids[0]}),
            ("instance_id_format", {"project": "shop", "instance_id": GHOST_ID}),
        ):
            answer = call("register_session", **arguments)
            assert answer["isError"]
            assert answer["content"][0]["text"].startswith(refused), answer


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_without_the_check_the_other_project_is_found(thief: Thief, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same search for a leak finds one when nothing narrows what is asked."""
    monkeypatch.setattr(limited_client, "within", lambda projects, operation: operation)
    with pytest.raises(AssertionError):
        steal(thief, 100)
    with pytest.raises(AssertionError):
        thief.learns_nothing("resources/read", uri=f"continuity://sessions/{thief.bank.instance_ids[0]}")


@pytest.mark.anyio
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_the_official_client_works_with_a_token_in_both_eras(served: Served, era: str) -> None:
    async with served.agent(served.token("write"), era) as agent:
        assert len((await agent.client.list_tools()).tools) == len(TOOLS)
        session = await agent.call("register_session", project="demo")
        assert (await agent.call("get_session", session="demo"))["instance_id"] == session["instance_id"]


@pytest.mark.anyio
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_a_token_that_reads_writes_nothing(served: Served, bank: Bank, era: str) -> None:
    async with served.agent(served.token("read"), era) as agent:
        for tool in TOOLS:
            arguments = dict(
                next(call[1] for call in [*simple_calls(bank), ("get_system_health", {})] if call[0] == tool.name)
            )
            if tool.hints.read_only_hint:
                assert not (await agent.result(tool.name, **arguments)).is_error, tool.name
            else:
                told = await agent.refused(tool.name, **arguments)
                assert told.startswith("scope_missing: this needs the scope write; the token has read"), told
                assert "continuity tokens create" in told


def test_what_no_scope_of_mcp_admits_is_refused_as_the_specification_says(served: Served) -> None:
    listing = message("tools/list")
    with served.http(served.token("capture")) as http:
        answer = http.post("/mcp", json=listing)
        assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
        assert 'error="insufficient_scope", scope="read"' in answer.headers["www-authenticate"]
    with served.http() as http:
        answer = http.post("/mcp", json=listing)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert http.post(f"/mcp?access_token={served.token('write')}", json=listing).status_code == 401


def test_a_revoked_token_is_refused_at_the_next_request(served: Served) -> None:
    from session_continuity.web.tokens import TokenFile

    tokens = TokenFile(served.home)
    text, made = tokens.create(["write"], name="build")
    with served.http(text) as http:
        assert http.post("/mcp", json=message("tools/list")).status_code == 200
        (known,) = tokens.known()
        assert known.last_used_at is not None
        tokens.revoke("build")
        assert http.post("/mcp", json=message("tools/list")).status_code == 401
    assert list((served.home / "tokens-used").iterdir()) == []
    assert made.last_used_at is None


def test_too_many_requests_of_a_token_are_told_when_to_come_again(tmp_path: Path, database: str) -> None:
    with serving(tmp_path / "home", database, requests_per_second=1) as served:
        with served.http(served.token("read")) as http:
            http.post("/mcp", json=message("tools/list"))  # the first one loads the SDK, while the bucket fills
            admitted = 0
            while (last := http.post("/mcp", json=message("tools/list"))).status_code == 200:
                admitted += 1
            assert 9 <= admitted < 100
            assert (last.status_code, last.json()["error"]) == (429, "too_many_requests")
            assert last.headers["retry-after"] == "1"
        with served.http(served.token("read")) as other:
            assert other.post("/mcp", json=message("tools/list")).status_code == 200
