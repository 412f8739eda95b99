"""Drift against a real git repository."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from session_continuity.domain.drift import Drift, find_drift
from session_continuity.domain.event_store import Event
from session_continuity.domain.fold import fold
from session_continuity.domain.work_state import WorkState, empty_state
from session_continuity.workspace import observe_workspace

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def recorded(repository: Path, *more: tuple[str, dict]) -> WorkState:
    head = git(repository, "rev-parse", "--short", "HEAD")
    events = [
        ("instance_registered", {"cwd": str(repository), "git_branch": "main"}),
        ("commit_created", {"sha": head, "message": "first", "branch": "main"}),
        *more,
    ]
    return fold(
        empty_state(),
        [
            Event(uuid4(), "t-PS-aaaaaa", kind, number, data, {}, NOW, NOW, 1)
            for number, (kind, data) in enumerate(events, 1)
        ],
    )


def drift_of(state: WorkState, folder: Path) -> list[tuple[str, str]]:
    observed = observe_workspace(
        folder, commits=[c["sha"] for c in state["commits"]], files=[f["path"] for f in state["files"]]
    )
    found: list[Drift] = find_drift(state, observed)
    return [(drift.kind, drift.expected) for drift in found]


def test_an_untouched_tree_has_no_drift(repository: Path) -> None:
    assert drift_of(recorded(repository), repository) == []


def test_another_branch_and_a_newer_commit_are_found(repository: Path) -> None:
    state = recorded(repository)
    git(repository, "checkout", "-q", "-b", "other")
    (repository / "b.py").write_text("2\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "second")
    kinds = [kind for kind, _ in drift_of(state, repository)]
    assert kinds == ["branch_changed", "head_moved"]  # the recorded commit is still in the history


def test_a_lost_commit_is_found(repository: Path) -> None:
    (repository / "b.py").write_text("2\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "second")
    state = recorded(repository)
    git(repository, "reset", "-q", "--hard", "HEAD~1")
    assert [kind for kind, _ in drift_of(state, repository)] == ["head_moved", "commit_missing"]


def test_uncommitted_work_is_told_apart_from_other_changes(repository: Path) -> None:
    state = recorded(repository, ("files_changed", {"files": [{"path": str(repository / "a.py")}]}))
    (repository / "a.py").write_text("changed\n")
    (repository / "with space é.py").write_text("new\n")
    assert drift_of(state, repository) == [
        ("file_uncommitted", "a.py"),
        ("file_unrecorded", "with space é.py"),
    ]


def test_a_file_that_is_gone_is_found_and_a_deleted_one_is_not(repository: Path) -> None:
    changed = {"files": [{"path": "gone.py", "change": "created"}, {"path": "old.py", "change": "deleted"}]}
    state = recorded(repository, ("files_changed", changed))
    assert ("file_missing", "gone.py") in drift_of(state, repository)
    assert ("file_missing", "old.py") not in drift_of(state, repository)


def test_a_missing_folder_and_a_plain_folder_are_answers(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = recorded(repository)
    assert [kind for kind, _ in drift_of(state, repository / "nowhere")] == ["directory_missing"]
    plain = tmp_path_factory.mktemp("plain")
    assert [kind for kind, _ in drift_of(state, plain)] == ["not_a_repository"]


def test_nothing_that_the_repository_configures_is_run(repository: Path) -> None:
    witness = repository / "witness"
    script = repository / "monitor.sh"
    script.write_text(f"#!/bin/sh\ntouch {witness}\n")
    script.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(script))
    observe_workspace(repository)
    assert not witness.exists()


@pytest.mark.parametrize("name", ["evil", "a=b", "with space"])
def test_no_filter_of_the_repository_is_run(repository: Path, name: str) -> None:
    witness = repository / "witness"
    git(repository, "config", f"filter.{name}.clean", f"touch '{witness}'; cat")
    git(repository, "config", f"filter.{name}.required", "true")
    (repository / ".gitattributes").write_text(f"*.py filter={name}\n")
    (repository / "a.py").write_text("2\n")
    observed = observe_workspace(repository)
    assert not witness.exists()
    assert "a.py" in observed.dirty_files


def test_no_missing_object_is_fetched(repository: Path) -> None:
    witness = repository / "witness"
    git(repository, "config", "remote.origin.url", str(repository))
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "remote.origin.uploadpack", f"touch '{witness}'; git-upload-pack")
    git(repository, "config", "extensions.partialClone", "origin")
    observe_workspace(repository, commits=["1234567890123456789012345678901234567890"])
    assert not witness.exists()


@pytest.mark.parametrize("hostile", ["--output=/tmp/x", "HEAD; touch x", "$(touch x)", "../../etc", "-"])
def test_a_captured_commit_id_is_no_option_of_git(repository: Path, hostile: str) -> None:
    assert observe_workspace(repository, commits=[hostile]).commits == frozenset()


def test_files_outside_the_repository_are_not_looked_for(repository: Path) -> None:
    outside = ["/nonexistent/secret", "../sibling.py"]
    assert observe_workspace(repository, files=outside).missing_files == frozenset()
