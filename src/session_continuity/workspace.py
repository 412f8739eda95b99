"""Looks at a working directory: what git says of it. Nothing that a repository configures is run."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from session_continuity.domain.drift import Workspace
from session_continuity.domain.session_registry import Origin

_COMMIT_ID = re.compile(r"[0-9a-fA-F]{4,64}")
_SECONDS = 10.0


def observe_workspace(cwd: str | Path, *, commits: Iterable[str] = (), files: Iterable[str] = ()) -> Workspace:
    """What is there now; `commits` are looked for in HEAD's history, `files` on disk (only inside the directory
    or its repository). A directory that is missing or no repository is an answer, not an error."""
    folder = os.path.abspath(cwd)
    if not os.path.isdir(folder):
        return Workspace(cwd=folder, exists=False, dirty_files={})
    git = _Git(folder)
    root = git.answer("rev-parse", "--show-toplevel")
    inside = os.path.realpath(root or folder)
    missing = frozenset(path for path in files if _is_missing(folder, inside, path))
    if root is None:
        return Workspace(cwd=folder, exists=True, dirty_files={}, missing_files=missing)
    return Workspace(
        cwd=folder,
        exists=True,
        root=root,
        branch=git.answer("symbolic-ref", "--quiet", "--short", "HEAD"),
        head=git.answer("rev-parse", "--verify", "--quiet", "HEAD"),
        dirty_files=_dirty_files(git),
        commits=frozenset(commit for commit in commits if _contains(git, commit)),
        missing_files=missing,
    )


def here(cwd: str | Path | None, **known: Any) -> Origin:
    """The origin of a session that works in `cwd` (default: the current folder) on this machine; `known` are
    further parts of it."""
    observed = observe_workspace(os.getcwd() if cwd is None else cwd)
    return Origin(
        host=socket.gethostname(),
        cwd=observed.cwd,
        git_branch=observed.branch,
        git_head=observed.head,
        **known,
    )


def _is_missing(folder: str, inside: str, path: str) -> bool:
    full = os.path.normpath(os.path.join(folder, path))
    within = os.path.realpath(os.path.dirname(full)) == inside or full.startswith(
        (folder + os.sep, inside + os.sep)
    )
    return within and "\0" not in full and not os.path.lexists(full)


def _dirty_files(git: _Git) -> dict[str, str]:
    listed = git.raw("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=all")
    found: dict[str, str] = {}
    entries = iter((listed or "").split("\0"))
    for entry in entries:
        if len(entry) > 3:
            found[entry[3:]] = entry[:2].strip()
            if entry[0] in "RC":
                next(entries, None)  # the former name
    return found


def _contains(git: _Git, commit: str) -> bool:
    if not _COMMIT_ID.fullmatch(commit):
        return False
    return git.raw("merge-base", "--is-ancestor", f"{commit}^{{commit}}", "HEAD") is not None


class _Git:
    """Questions to git about one folder, all of them within one deadline. The folder comes from captured text, so
    nothing that its repository configures may run: no hook, monitor, filter, and no fetch of missing objects."""

    def __init__(self, folder: str) -> None:
        self._folder, self._until = folder, time.monotonic() + _SECONDS
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self._environment |= {
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "",
            "GIT_NO_LAZY_FETCH": "1",
            "LC_ALL": "C",
        }
        self._override({"core.fsmonitor": "false", "core.hooksPath": os.devnull})
        filters = self.raw("config", "-z", "--name-only", "--get-regexp", r"^filter\.") or ""
        switched_off = {"core.fsmonitor": "false", "core.hooksPath": os.devnull}
        for name in filter(None, filters.split("\0")):
            switched_off[name] = "false" if name.endswith(".required") else ""
        self._override(switched_off)

    def answer(self, *arguments: str) -> str | None:
        """The one line that git answers, or None when it fails or there is no git."""
        told = self.raw(*arguments)
        return None if told is None else told.strip()

    def raw(self, *arguments: str) -> str | None:
        """All that git answers, or None when it fails, takes too long, or there is no git."""
        try:
            done = subprocess.run(
                ["git", "-C", self._folder, *arguments],
                env=self._environment,
                capture_output=True,
                timeout=max(0.01, self._until - time.monotonic()),
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired, ValueError):
            return None
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

    def _override(self, settings: dict[str, str]) -> None:
        # Through the environment: on the command line a name that holds "=" could not be overridden.
        self._environment["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (name, value) in enumerate(settings.items()):
            self._environment[f"GIT_CONFIG_KEY_{number}"] = name
            self._environment[f"GIT_CONFIG_VALUE_{number}"] = value


def observe_head(cwd: str | Path) -> tuple[str | None, str | None]:
    """The branch and the commit that are checked out in `cwd`, None where there is none."""
    folder = os.path.abspath(cwd)
    if not os.path.isdir(folder):
        return None, None
    git = _Git(folder)
    branch = git.answer("symbolic-ref", "--quiet", "--short", "HEAD")
    return branch, git.answer("rev-parse", "--verify", "--quiet", "HEAD")
