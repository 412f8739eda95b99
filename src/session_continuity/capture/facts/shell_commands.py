"""Reading a shell command line: which programs it runs, in which order, joined how.

One pass over the text, no expansion: enough to tell `cd x && FOO=1 timeout 60 uv run pytest | tail`
runs pytest behind a pipe, and that `echo "git commit"` runs echo. What a substitution `$(...)` runs is
not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from session_continuity.capture.facts.facts import JSON, Record
from session_continuity.capture.facts.shell_scanner import Segment, scan
from session_continuity.capture.facts.transcripts import elements, fields, names, text

MAX_COMMAND_CHARACTERS = 256 * 1024
_MAX_NESTING, _MAX_WRAPPERS = 4, 10
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_CONDITIONS = names("if elif while until ! then else do")
_KEYWORDS = _CONDITIONS | names("{ } time fi done esac")
_CLUSTER = re.compile(r"-[a-zA-Z]{2,6}")
_SHELLS = names("bash sh zsh dash")

_WRAPPERS: tuple[tuple[str, int], ...] = tuple(
    (words, arguments)
    for arguments, several in {
        0: "sudo doas env nohup nice ionice stdbuf setsid command exec builtin xargs npx bunx pipx|run uvx "
        "uv|run uv|tool|run poetry|run pipenv|run pdm|run hatch|run rye|run pnpm|exec pnpm|dlx yarn|exec "
        "yarn|dlx npm|exec bundle|exec mise|exec conda|run coverage|run dotenv caffeinate chronic unbuffer",
        1: "timeout gtimeout docker|exec docker|compose|exec docker|compose|run docker-compose|exec flock "
        "docker-compose|run direnv|exec xvfb-run|-a",
    }.items()
    for words in several.split()
)
"""Programs that run another one, and how many of their own arguments come first."""

_VALUE_OPTIONS: dict[str, frozenset[str]] = {
    program: frozenset(options.split())
    for program, options in {
        "git": "-C -c --git-dir --work-tree --namespace",
        "make": "-C -f -I -o -W --directory --file",
        "npm": "--prefix -w --workspace -p --package -c",
        "npx": "-p --package",
        "pnpm": "--filter -F -C --dir",
        "yarn": "--cwd",
        "go": "-C",
        "cargo": "--manifest-path --color --config -Z",
        "docker": "-e --env -u --user -w --workdir -c --context -H --host -f --file -p --project-name --name",
        "docker-compose": "-f --file -p --project-name -e --env -u --user -w --workdir",
        "kubectl": "-n --namespace --context --kubeconfig",
        "helm": "-n --namespace --kube-context --kubeconfig",
        "gh": "-R --repo",
        "glab": "-R --repo",
        "uv": "--project --directory --with --python -p --extra --group --env-file --package --index",
        "uvx": "--from --with --python -p",
        "poetry": "-C -P --directory --project",
        "hatch": "-e --env",
        "timeout": "-k -s --kill-after --signal",
        "gtimeout": "-k -s --kill-after --signal",
        "sudo": "-u -g -h -p -C -D --user --group",
        "env": "-u -C --unset --chdir",
        "nice": "-n --adjustment",
        "xargs": "-n -P -I -L -d -a -s",
        "stdbuf": "-i -o -e",
        "coverage": "--source --rcfile --include --omit",
        "mvn": "-f -pl -P -s -T",
        "gradle": "-p -b",
        "fly": "-a -c --app --config",
        "flyctl": "-a -c --app --config",
        "aws": "--profile --region --output",
        "gcloud": "--project --account --configuration",
        "conda": "-n -p --name --prefix",
    }.items()
}


def command_text(parameters: Record) -> str | None:
    """The command line in a tool's parameters: Claude Code `command`, Codex `cmd` or an argument list."""
    for holder in (parameters, fields(parameters.get("action"))):
        for name in ("command", "cmd"):
            value = holder.get(name)
            if isinstance(value, list):
                words = [word for word in elements(value) if isinstance(word, str)]
                return _script(words) or " ".join(_quoted(word) for word in words) or None
            if text(value):
                return text(value)
    return None


def segments(command: str) -> tuple[Segment, ...]:
    """Every program of a command line in order, `bash -c "..."` opened up; never raises."""
    return tuple(_in_folders(_expand(command[:MAX_COMMAND_CHARACTERS], 0)))


def matching_arguments(words: tuple[str, ...], pattern: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words after those a pattern names, options between them skipped; None when it does not match.

    A pattern word may end in `*`: `("npm", "run", "test*")` matches `npm --prefix web run test:unit -- -v`.
    A last word `$` matches only where no argument follows.
    """
    if not words or not _equal(words[0], pattern[0]):
        return None
    takes_value = _VALUE_OPTIONS.get(words[0], frozenset())
    position = 1
    for expected in pattern[1:]:
        if expected == "$":
            return None if arguments_of(words[position:]) else words[position:]
        while position < len(words) and words[position].startswith("-") and words[position] != expected:
            position += 2 if words[position] in takes_value else 1
        if position >= len(words) or not _equal(words[position], expected):
            return None
        position += 1
    return words[position:]


def arguments_of(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words that are neither options nor empty; all words after `--`."""
    cut = words.index("--") if "--" in words else len(words)
    before = (word for word in words[:cut] if word and (not word.startswith("-") or word == "-"))
    return (*before, *words[cut + 1 :])


def option_value(words: tuple[str, ...], several: tuple[str, ...]) -> str | None:
    """The value of the first of some options, written `-m value`, `-mvalue` or `--message=value`."""
    for index, word in enumerate(words):
        for option in several:
            if word == option:
                return words[index + 1] if index + 1 < len(words) else None
            if option.startswith("--") and word.startswith(f"{option}="):
                return word[len(option) + 1 :]
            if not option.startswith("--") and word.startswith(option) and word[1:2] != "-":
                return word[len(option) :]
            if len(option) == 2 and _CLUSTER.fullmatch(word) and word.endswith(option[1]):
                return words[index + 1] if index + 1 < len(words) else None
    return None


def _equal(word: str, expected: str) -> bool:
    return word.startswith(expected[:-1]) if expected.endswith("*") else word == expected


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w./:=@%+,-]+", word) else "'" + word.replace("'", "'\\''") + "'"


def _script(words: list[str]) -> str | None:
    """The script of `bash -lc SCRIPT`; also `bash -c`, `sh -ec` and the like."""
    if len(words) < 3 or words[0].rpartition("/")[2] not in _SHELLS:
        return None
    for position, word in enumerate(words[1:-1], start=1):
        if not word.startswith("-"):
            return None
        if not word.startswith("--") and word.endswith("c"):
            return words[position + 1]
    return None


def _expand(command: str, depth: int) -> Iterator[Segment]:
    for segment in scan(command):
        words, conditional = _unwrapped(segment.words)
        if not words:
            if segment.writes:
                yield replace(segment, words=())
            continue
        script = _script(list(words)) or (words[1] if words[0] == "eval" and len(words) == 2 else None)
        inner = list(_expand(script, depth + 1)) if script and depth < _MAX_NESTING else []
        if not inner:
            yield replace(segment, words=words, conditional=conditional)
            continue
        inner[0] = replace(inner[0], before=segment.before)
        inner[-1] = replace(inner[-1], after=segment.after)
        yield from inner


def _in_folders(found: Iterator[Segment]) -> Iterator[Segment]:
    folder: str | None = None
    for segment in found:
        yield replace(segment, folder=folder)
        if segment.words[:1] == ("cd",) and len(segment.words) == 2 and segment.after in ("&&", ";", ""):
            target = segment.words[1]
            absolute = target.startswith(("/", "~")) or folder is None
            folder = target if absolute else f"{folder.rstrip('/')}/{target}"  # type: ignore[union-attr]


def _unwrapped(words: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Take away keywords, assignments and programs that only run another one."""
    conditional = False
    for _ in range(_MAX_WRAPPERS):
        start = 0
        while start < len(words) and (words[start] in _KEYWORDS or _ASSIGNMENT.match(words[start])):
            conditional = conditional or words[start] in _CONDITIONS
            start += 1
        words = words[start:]
        if not words:
            break
        words = (words[0].rpartition("/")[2] or words[0], *words[1:])
        inner = _module_run(words) or _wrapped(words)
        if inner is None:
            break
        words = inner
    return words, conditional


def _module_run(words: tuple[str, ...]) -> tuple[str, ...] | None:
    if not re.fullmatch(r"python[0-9.]*|pypy3?|py", words[0]) or "-m" not in words[1:6]:
        return None
    inner = words[words.index("-m") + 1 :]
    return inner or None


def _wrapped(words: tuple[str, ...]) -> tuple[str, ...] | None:
    for wrapper, arguments in _WRAPPERS:
        rest = matching_arguments(words, tuple(wrapper.split("|")))
        if rest is None:
            continue
        takes_value = _VALUE_OPTIONS.get(words[0], frozenset())
        position = 0
        while position < len(rest) and rest[position].startswith("-"):
            position += 2 if rest[position] in takes_value else 1
        position += arguments
        while position < len(rest) and rest[position] == "--":
            position += 1
        if position >= len(rest):
            return None
        inner = rest[position:]
        return ("python", *inner) if wrapper == "coverage|run" and inner[0] == "-m" else inner
    return None


def command_of(parameters: Record, result: JSON) -> str | None:
    """The command line whose outcome a call tells: its own, or the background one whose output it fetched."""
    return text(fields(result).get("command")) or command_text(parameters)
