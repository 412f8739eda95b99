"""A database as OpenCode 1.18.33 makes it, as far as sessions, messages and parts go, with our own content."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE session (id text PRIMARY KEY, project_id text NOT NULL, parent_id text, slug text NOT NULL,
  directory text NOT NULL, title text NOT NULL, version text NOT NULL, time_created integer NOT NULL,
  time_updated integer NOT NULL);
CREATE TABLE message (id text PRIMARY KEY, session_id text NOT NULL, time_created integer NOT NULL,
  time_updated integer NOT NULL, data text NOT NULL);
CREATE TABLE part (id text PRIMARY KEY, message_id text NOT NULL, session_id text NOT NULL,
  time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
"""
START = 1777888800000
USER = {"role": "user", "agent": "build", "model": {"providerID": "p", "modelID": "m-1"}}
ANSWER = {"role": "assistant", "path": {"cwd": "/home/ana/shop", "root": "/"}, "modelID": "m-1", "providerID": "p"}
ABORTED = {**ANSWER, "error": {"name": "MessageAbortedError", "data": {"message": "aborted"}}}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def tool(
    name: str, call: str, status: str, given: dict[str, Any], seconds: int = 2, **state: Any
) -> dict[str, Any]:
    time = {"start": START + 5000, "end": START + 5000 + 1000 * seconds}
    return {
        "type": "tool",
        "tool": name,
        "callID": call,
        "state": {"status": status, "input": given, "time": time, **state},
    }


REFUSAL = "The user rejected permission to use this specific tool call."
TODOS = {"todos": [{"content": "Find the bug", "status": "completed"}, {"content": "Fix it", "status": "pending"}]}
TASK = {"description": "look around", "subagent_type": "explore", "prompt": "Find callers."}

MAIN: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    (USER, [text("Fix the basket total"), text("Called the Read tool", synthetic=True)]),
    (
        ANSWER,
        [
            {"type": "step-start"},
            tool("bash", "c1", "completed", {"command": "npm test"}, output="1 failed", title="npm test",
                 metadata={"output": "1 failed", "exit": 1, "truncated": False}),
            tool("write", "c2", "completed", {"filePath": "/home/ana/shop/tax.js", "content": ""},
                 output="Wrote file.", metadata={"exists": False, "filepath": "/home/ana/shop/tax.js"}),
            tool("todowrite", "c3", "completed", TODOS, output="[]", metadata={"todos": []}),
            tool("task", "c4", "completed", TASK, output="Two callers.", metadata={"sessionId": "ses_2"}),
            tool("read", "c5", "error", {"filePath": "/gone"}, error="File not found: /gone"),
            tool("bash", "c6", "error", {"command": "git push"}, error=REFUSAL),
            tool("bash", "c7", "pending", {}),
            text("I found it.", time={"start": START, "end": START + 1}),
            {"type": "step-finish", "reason": "stop", "tokens": {"input": 1}},
        ],
    ),
    (USER, [{"type": "compaction", "auto": True}]),
    ({**ANSWER, "summary": True, "mode": "compaction"}, [text("So far the basket.")]),
    (USER, [text("Continue if you have next steps", synthetic=True, metadata={"compaction_continue": True})]),
    (ABORTED, [{"type": "a-kind-of-tomorrow"}, tool("bash", "c8", "running", {"command": "sleep 600"})]),
]  # fmt: skip
CHILD = [
    (USER, [text("Find callers.")]),
    (ANSWER, [tool("grep", "d1", "completed", {"pattern": "total"}, output="")]),
]


def make(path: Path) -> Path:
    """A database with a session and the subagent that it sent off."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA)
        add(database, "ses_1", None, MAIN)
        add(database, "ses_2", "ses_1", CHILD)
        database.commit()
    return path


def add(database: sqlite3.Connection, session: str, parent: str | None, messages: list[Any]) -> None:
    created = START + (1000 if parent else 0)
    row = (session, "global", parent, "a-b", "/home/ana/shop", "New", "1.18.33", created, created)
    database.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    for number, (message, parts) in enumerate(messages):
        at, identity = created + 1000 * number, f"msg_{session}_{number}"
        database.execute(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?)", (identity, session, at, at, json.dumps(message))
        )
        for place, part in enumerate(parts):
            row = (f"prt_{session}_{number}_{place:02}", identity, session, at, at, json.dumps(part))
            database.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)", row)
