"""Looks at a working directory: what git says of it. Nothing that a repository configures is run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from session_continuity.domain.drift import Workspace

_COMMIT_ID = re.compile(r"[0-9a-fA-F]{4,64}")
_SECONDS = 10.0


def observe_workspace(cwd: str | Path, *, commits: Iterable[str] = (), files: Iterable[str] = ()) -> Workspace:
    """What is there now; `commits` are looked for in HEAD's history, `files` on disk (only inside the directory or
    its repository). A directory that is missing or no repository is an answer, not an error."""
    folder = os.path.abspath(cwd)
    if not os.path.isdir(folder):
        return Workspace(cwd=folder, exists=False, dirty_files={})
    root = _git(folder, "rev-parse", "--show-toplevel")
    inside = os.path.realpath(root or folder)
    missing = frozenset(path for path in files if _is_missing(folder, inside, path))
    if root is None:
        return Workspace(cwd=folder, exists=True, dirty_files={}, missing_files=missing)
    return Workspace(
        cwd=folder,
        exists=True,
        root=root,
        branch=_git(folder, "symbolic-ref", "--quiet", "--short", "HEAD"),
        head=_git(folder, "rev-parse", "--verify", "--quiet", "HEAD"),
        dirty_files=_dirty_files(folder),
        commits=frozenset(commit for commit in commits if _contains(folder, commit)),
        missing_files=missing,
    )


def _is_missing(folder: str, inside: str, path: str) -> bool:
    full = os.path.normpath(os.path.join(folder, path))
    within = os.path.realpath(os.path.dirname(full)) == inside or full.startswith(
        (folder + os.sep, inside + os.sep)
    )
    return within and "\0" not in full and not os.path.lexists(full)


def _dirty_files(folder: str) -> dict[str, str]:
    listed = _git(
        folder,
        "status",
        "--porcelain=v1",
        "-z",
        "--untracked-files=normal",
        "--ignore-submodules=all",
        strip=False,
    )
    found: dict[str, str] = {}
    entries = iter((listed or "").split("\0"))
    for entry in entries:
        if len(entry) > 3:
            found[entry[3:]] = entry[:2].strip()
            if entry[0] in "RC":
                next(entries, None)  # the former name
    return found


def _contains(folder: str, commit: str) -> bool:
    if not _COMMIT_ID.fullmatch(commit):
        return False
    return _git(folder, "merge-base", "--is-ancestor", f"{commit}^{{commit}}", "HEAD") is not None


def _git(folder: str, *arguments: str, strip: bool = True) -> str | None:
    """The answer of git, or None when it fails or there is no git."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = [
        "git",
        "-C",
        folder,
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        *arguments,
    ]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    answer = done.stdout.decode("utf-8", "replace")
    return answer.strip() if strip else answer
