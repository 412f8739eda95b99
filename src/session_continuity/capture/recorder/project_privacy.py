"""What of a project is not captured: switched off or ignored by the user's settings, or by the repository itself.

A repository may say less is captured, never more, and nothing else: its file `.continuity.toml` can't change
where data goes.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path, PurePath

from session_continuity.capture.facts import facts
from session_continuity.capture.facts.facts import JSON, Fact, Record
from session_continuity.capture.facts.shell_commands import command_text
from session_continuity.capture.facts.transcripts import names, remember, text
from session_continuity.domain.errors import InvalidInput
from session_continuity.domain.text import printable, shorten
from session_continuity.settings import ProjectSettings, Settings, project_settings

FILE_NAME = ".continuity.toml"

_LONGEST_FILE = 65_536
_REMEMBERED_CALLS = 10_000
_MOST_WORDS = 2_000
_PATHS = names("path file_path filePath notebook_path filename file files paths absolute_path dir_path directory")
_WORD = re.compile(r"""[^\s"'|&;<>()=]+""")


class ProjectPrivacy:
    """Answers what may be stored, by the user's settings and the repository's own file, which is read again when
    it has changed."""

    def __init__(self, settings: Settings) -> None:
        self._projects = {Path(folder).expanduser(): rules for folder, rules in settings.projects.items()}
        self._read: dict[Path, tuple[tuple[int, int, int], ProjectSettings, str | None]] = {}
        self._ignored_calls: dict[str, None] = {}

    def allows(self, cwd: str | None, fact: Fact) -> bool:
        """Whether a fact of a session that works in `cwd` may be stored. What follows from an ignored tool call is
        ignored with it."""
        if isinstance(fact, facts.SessionStarted | facts.SessionChanged):
            cwd = fact.cwd or cwd
        rules = list(self._rules_of(cwd))
        if not all(one.capture for _, one in rules):
            return False
        patterns = [(folder, _compiled(one.ignore)) for folder, one in rules if one.ignore]
        if not patterns:
            return True
        call_id, tool, parameters = _call_of(fact)
        if call_id in self._ignored_calls:
            return False
        if not _is_ignored(tool, parameters, cwd or "/", patterns):
            return True
        if call_id:
            remember(self._ignored_calls, call_id, None, limit=_REMEMBERED_CALLS)
        return False

    def is_off(self, cwd: str | None) -> str | None:
        """What switched capture off in that folder: the name of a file or of a setting; None when it is on."""
        for folder, rules in self._rules_of(cwd):
            if not rules.capture:
                return f'[projects."{folder}"]' if folder in self._projects else str(folder / FILE_NAME)
        return None

    def problem(self, cwd: str | None) -> str | None:
        """What is wrong with the repository's file, which is ignored then, for `continuity doctor` and the log."""
        file = _find(cwd)
        return self._of_file(file)[1] if file else None

    def _rules_of(self, cwd: str | None) -> Iterator[tuple[Path, ProjectSettings]]:
        if not cwd:
            return
        folder = Path(os.path.normpath(cwd))
        for above in (folder, *folder.parents):
            if above in self._projects:
                yield above, self._projects[above]
        file = _find(cwd)
        if file:
            yield file.parent, self._of_file(file)[0]

    def _of_file(self, file: Path) -> tuple[ProjectSettings, str | None]:
        try:
            entry = file.lstat()
            version = (entry.st_mtime_ns, entry.st_size, entry.st_ino)
        except OSError:
            return ProjectSettings(), None
        known = self._read.get(file)
        if known is None or known[0] != version:
            if len(self._read) >= _REMEMBERED_CALLS:
                self._read.clear()
            known = self._read[file] = (version, *_parse(file))
        return known[1:]


def capture_is_off(privacy: ProjectPrivacy, cwd: str | None) -> InvalidInput:
    """The error of an import from a project where capture is switched off."""
    by = privacy.is_off(cwd)
    return InvalidInput(f"capture is off in {cwd} by {by}; nothing was imported", code="capture_off", by=by)


def _find(cwd: str | None) -> Path | None:
    """The file of the repository that holds the folder; outside of a repository only the folder's own."""
    if not cwd or not os.path.isabs(cwd) or "\0" in cwd:
        return None
    folder = Path(os.path.normpath(cwd))
    for above in (folder, *folder.parents):
        if os.path.lexists(above / ".git"):
            return above / FILE_NAME if os.path.lexists(above / FILE_NAME) else None
    return folder / FILE_NAME if os.path.lexists(folder / FILE_NAME) else None


def _parse(file: Path) -> tuple[ProjectSettings, str | None]:
    """The file's rules, or none and what is wrong with it. A file that can't be understood switches nothing."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise InvalidInput(f"{file} is not a file")
            content = opened.read(_LONGEST_FILE + 1)
        if len(content) > _LONGEST_FILE:
            raise InvalidInput(f"{file} is longer than {_LONGEST_FILE:,} bytes")
        document = tomllib.loads(content.decode())
        rules = project_settings(document, str(file))
        if document.get("capture"):
            raise InvalidInput(f"{file} may set capture = false only; the user's settings switch it on")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, InvalidInput) as error:
        return ProjectSettings(), f"{FILE_NAME} is ignored: {printable(shorten(str(error), 300))}"
    return rules, None


def _call_of(fact: Fact) -> tuple[str | None, str | None, Record]:
    """The tool call that a fact belongs to: its id, and tool and parameters where the fact tells them."""
    match fact:
        case facts.ToolCalled() | facts.PermissionDenied():
            return fact.tool_call_id, fact.tool, fact.parameters
        case facts.ToolFinished(call=facts.ToolCalled() as call):
            return call.tool_call_id, call.tool, call.parameters
        case facts.ToolFinished() | facts.SubagentStarted() | facts.SubagentEnded() | facts.Interrupted():
            return fact.tool_call_id, None, {}
        case facts.Unmapped():
            return None, text(fact.payload.get("tool_name")), fact.payload
        case _:
            return None, None, {}


@lru_cache(256)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all patterns; what fnmatch makes of them is matched in linear time."""
    return re.compile("|".join(translate(pattern.rstrip("/") or "/") for pattern in patterns))


def _is_ignored(
    tool: str | None, parameters: Record, cwd: str, patterns: Sequence[tuple[Path, re.Pattern[str]]]
) -> bool:
    if tool and any(pattern.match(tool) for _, pattern in patterns):
        return True
    named = set(itertools.islice(_named(parameters), _MOST_WORDS))
    return any(
        pattern.match(form) for word in named for folder, pattern in patterns for form in _forms(word, cwd, folder)
    )


def _named(parameters: Record) -> Iterator[str]:
    """The paths that the parameters of a call name: those of its fields, and the words of a shell command."""
    pending: list[tuple[str, JSON]] = list(parameters.items())
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += [(name, item) for item in value]
        elif isinstance(value, str) and name in _PATHS:
            yield value
    for word in _WORD.finditer(command_text(parameters) or ""):
        yield word[0]


def _forms(named: str, cwd: str, folder: Path) -> Iterator[str]:
    """A path as a pattern may mean it: as it was written, absolute, relative to the project, each folder above it
    there, and each part alone."""
    whole = PurePath(os.path.normpath(os.path.join(cwd, named)))
    inside = whole.relative_to(folder) if whole.is_relative_to(folder) else whole
    yield from {named, str(whole), *inside.parts, *map(str, (inside, *inside.parents))} - {"."}
