"""Drift: where the working tree differs from what the session's records say of it."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from typing import Literal

from session_continuity.domain.work_state import WorkState

DriftKind = Literal[
    "directory_missing", "not_a_repository", "branch_changed", "head_moved", "commit_missing", "file_missing",
    "file_uncommitted", "file_unrecorded",
]  # fmt: skip

LISTED_FILES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What is really there: the directory, and what git says of it. `head` is a full commit id, `dirty_files`
    maps paths relative to the repository's root to git's two status letters, `commits` are those of the asked
    commits that HEAD contains, `missing_files` those of the asked files that do not exist."""

    cwd: str
    exists: bool
    root: str | None = None
    branch: str | None = None
    head: str | None = None
    dirty_files: dict[str, str]
    commits: frozenset[str] = frozenset()
    missing_files: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference. `expected` and `actual` hold captured text; `cite` names the event behind `expected`."""

    kind: DriftKind
    expected: str
    actual: str
    cite: str | None


def find_drift(state: WorkState, observed: Workspace) -> list[Drift]:
    """The differences between a work state and the observed working tree, the weightiest first."""
    recorded = state["workspace"]
    cite = recorded["cite"] if recorded else None
    if not observed.exists:
        return [Drift(kind="directory_missing", expected=observed.cwd, actual="", cite=cite)]
    found: list[Drift] = []
    knows_git = bool(recorded and (recorded["branch"] or recorded["head"])) or bool(state["commits"])
    if observed.root is None:
        if knows_git:
            found.append(Drift(kind="not_a_repository", expected=observed.cwd, actual="", cite=cite))
    else:
        if recorded and recorded["branch"] and observed.branch != recorded["branch"]:
            actual = observed.branch or "(detached)"
            found.append(Drift(kind="branch_changed", expected=recorded["branch"], actual=actual, cite=cite))
        found.extend(_commits(state, observed))
        found.extend(_uncommitted(state, observed))
    for file in reversed(state["files"]):
        if file["path"] in observed.missing_files and file["change"] != "deleted":
            found.append(Drift(kind="file_missing", expected=file["path"], actual="", cite=file["cite"]))
    return found


def _commits(state: WorkState, observed: Workspace) -> list[Drift]:
    found: list[Drift] = []
    recorded = state["workspace"]
    head = recorded["head"] if recorded else ""
    if recorded and head and not (observed.head or "").startswith(head):
        found.append(
            Drift(kind="head_moved", expected=head, actual=observed.head or "(no commit)", cite=recorded["cite"])
        )
    for commit in reversed(state["commits"]):
        if commit["sha"] and commit["sha"] not in observed.commits:
            expected = f"{commit['sha']} {commit['message']}".strip()
            found.append(
                Drift(kind="commit_missing", expected=expected, actual=observed.head or "", cite=commit["cite"])
            )
    return found


def _uncommitted(state: WorkState, observed: Workspace) -> list[Drift]:
    touched = {relative_path(file["path"], observed): file["cite"] for file in state["files"]}
    known: list[Drift] = []
    unrecorded: list[Drift] = []
    for path, letters in sorted(observed.dirty_files.items()):
        if path in touched:
            known.append(Drift(kind="file_uncommitted", expected=path, actual=letters, cite=touched[path]))
        else:
            unrecorded.append(Drift(kind="file_unrecorded", expected=path, actual=letters, cite=None))
    return known[:LISTED_FILES] + unrecorded[:LISTED_FILES]


def relative_path(path: str, observed: Workspace) -> str:
    """A recorded path as git names it: relative to the repository's root where it lies inside."""
    full = os.path.normpath(os.path.join(observed.cwd, path))
    root = observed.root or observed.cwd
    return os.path.relpath(full, root) if full.startswith(root.rstrip("/") + "/") else full
