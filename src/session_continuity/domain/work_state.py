"""The state of work: a typed, versioned document, the fold of a session's events (design section 6).

A state is a JSON document of texts, whole numbers, lists and objects: its canonical bytes are the same however it
was reached. Every entry cites its event as `instance_id#sequence_num`.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypedDict, cast

import orjson

SCHEMA_VERSION = 3
"""Raised when the meaning of a state changes; checkpoints of another version are not folded on."""


class Cited(TypedDict):
    cite: str


class Text(Cited):
    text: str


class Epic(Cited):
    epic_id: str
    name: str
    status: str


class PlanItem(TypedDict):
    text: str
    status: str


class Plan(Cited):
    items: list[PlanItem]


class Check(Cited):
    """The last outcome of one test or validation command; one that is under way keeps what failed before."""

    command: str
    outcome: str
    summary: str
    failing: list[str]


class Commit(Cited):
    sha: str
    message: str
    branch: str


class PullRequest(Cited):
    number: int | None
    url: str
    title: str
    status: str


class Deployment(Cited):
    target: str
    outcome: str


class TouchedFile(Cited):
    path: str
    change: str


class Note(Cited):
    kind: str
    text: str


class Subagent(Cited):
    task_id: str
    description: str
    agent_type: str


class Context(Cited):
    percent: int | None
    used_tokens: int | None
    window_tokens: int | None


class Compactions(Cited):
    count: int
    trigger: str
    summary: str


class Workspace(Cited):
    cwd: str
    branch: str
    head: str


class WorkState(TypedDict):
    """The document. `sequence_num` is the last event folded in, of `instance_id`."""

    schema_version: int
    instance_id: str
    sequence_num: int
    objective: Text | None
    prompts: list[Text]
    prompt_count: int
    epic: Epic | None
    epics: list[Epic]
    plan: Plan | None
    tests: list[Check]
    validations: list[Check]
    commits: list[Commit]
    pull_requests: list[PullRequest]
    deployments: list[Deployment]
    files: list[TouchedFile]
    notes: list[Note]
    last_answer: Text | None
    subagents: list[Subagent]
    features: list[Text]
    context: Context | None
    compactions: Compactions | None
    workspace: Workspace | None


def empty_state() -> WorkState:
    """The state before the first event."""
    return WorkState(
        schema_version=SCHEMA_VERSION,
        instance_id="",
        sequence_num=0,
        objective=None,
        prompts=[],
        prompt_count=0,
        epic=None,
        epics=[],
        plan=None,
        tests=[],
        validations=[],
        commits=[],
        pull_requests=[],
        deployments=[],
        files=[],
        notes=[],
        last_answer=None,
        subagents=[],
        features=[],
        context=None,
        compactions=None,
        workspace=None,
    )


def canonical(state: WorkState) -> bytes:
    """The state's bytes: JSON with sorted keys, the same for equal states."""
    return orjson.dumps(state, option=orjson.OPT_SORT_KEYS)


def copy_state(state: WorkState) -> WorkState:
    """A state of its own, to fold on while the first stays as it is."""
    return orjson.loads(orjson.dumps(state))


def state_hash(encoded: bytes) -> bytes:
    """SHA-256 of a state's canonical bytes."""
    return hashlib.sha256(encoded).digest()


def load_state(document: Any, expected_hash: bytes) -> WorkState | None:
    """A stored state, or None when it is of another schema version or not what was hashed."""
    if not isinstance(document, dict):
        return None
    state = cast("WorkState", document)
    if state.keys() != empty_state().keys():
        return None
    if state.get("schema_version") != SCHEMA_VERSION or state_hash(canonical(state)) != expected_hash:
        return None
    return state
