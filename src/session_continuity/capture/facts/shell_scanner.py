"""Cutting a shell command line into the programs it runs: quotes, joints, redirections, here-documents."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Joint: TypeAlias = Literal["&&", "||", ";", "|", "&", ""]

MAX_SEGMENTS = 200
"""Programs looked at in one command line; a real one has a dozen, generated ones may have any number."""

_HEREDOC = re.compile(r"<<(-?)[ \t]*(?:'([^'\n]*)'|\"([^\"\n]*)\"|\\?([A-Za-z0-9_.!-]+))")
_REDIRECT = re.compile(r"(?:[0-9]{0,3}|&)(>>|>\||>&|>|<&|<>|<<<|<)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One program run by a command line.

    `words` are without wrappers, assignments and redirections; `before` and `after` say how it is joined to
    its neighbours; `writes` are the files its output goes to; `folder` is where a literal `cd` before it led.
    """

    words: tuple[str, ...]
    before: Joint = ""
    after: Joint = ""
    conditional: bool = False
    writes: tuple[str, ...] = ()
    heredoc: str | None = None
    folder: str | None = None


def scan(command: str) -> list[Segment]:
    """Cut a command line in one pass, without expanding anything; never raises."""
    return _Scanner(command).run()


class _Scanner:
    """Cuts a command line into segments in one pass."""

    def __init__(self, command: str) -> None:
        self._text = command
        self._at = 0
        self._words: list[str] = []
        self._word: list[str] | None = None
        self._writes: list[str] = []
        self._heredocs: list[tuple[str, bool]] = []
        self._heredoc_text: str | None = None
        self._redirect: str | None = None
        self._done: list[Segment] = []
        self._before: Joint = ""

    def run(self) -> list[Segment]:
        source = self._text
        while self._at < len(source) and len(self._done) < MAX_SEGMENTS:
            self._step(source, source[self._at])
        self._end_segment("")
        return self._done

    def _step(self, source: str, char: str) -> None:
        if source.startswith("\\\n", self._at):
            self._at += 2
        elif char in "'\"\\$`":
            self._add(self._quotation(char))
        elif char == "\n":
            self._end_segment(";")
            self._at += 1
            self._read_heredocs()
        elif char in " \t\r":
            self._end_word()
            self._at += 1
        elif char == "#" and self._word is None:
            end = source.find("\n", self._at)
            self._at = len(source) if end < 0 else end
        elif char in "&|;()":
            self._operator(source)
        elif char in "<>":
            self._redirection(source)
        else:
            self._add(char)
            self._at += 1

    def _operator(self, source: str) -> None:
        if source.startswith("&>", self._at):
            self._redirection(source)
            return
        pair = source[self._at : self._at + 2]
        if pair in ("&&", "||"):
            self._end_segment("&&" if pair == "&&" else "||")
            self._at += 2
        elif pair == "|&":
            self._end_segment("|")
            self._at += 2
        elif source[self._at] in "()":
            self._end_word()
            self._at += 1
        else:
            joint: dict[str, Joint] = {"|": "|", ";": ";", "&": "&"}
            self._end_segment(joint[source[self._at]])
            self._at += 1

    def _redirection(self, source: str) -> None:
        heredoc = None if source.startswith("<<<", self._at) else _HEREDOC.match(source, self._at)
        if heredoc:
            self._end_word()
            mark = next(group for group in heredoc.groups()[1:] if group is not None)
            self._heredocs.append((mark, bool(heredoc[1])))
            self._at = heredoc.end()
            return
        if self._word is not None and "".join(self._word).isdigit():
            number, self._word = "".join(self._word), None
        else:
            number = ""
        self._end_word()
        found = _REDIRECT.match(source, self._at)
        self._at = found.end() if found else self._at + 1
        operator = found[1] if found else "<"
        self._redirect = "write" if operator in (">", ">>", ">|") and number in ("", "1") else "other"

    def _quotation(self, char: str) -> str:
        source, start = self._text, self._at
        if char == "\\":
            self._at += 2
            return source[start + 1 : start + 2]
        if char == "'":
            end = source.find("'", start + 1)
            self._at = len(source) if end < 0 else end + 1
            return source[start + 1 : len(source) if end < 0 else end]
        if char == '"':
            return self._double_quoted()
        self._at = _past_substitution(source, start)
        return source[start : self._at]

    def _double_quoted(self) -> str:
        source, pieces = self._text, [""]
        self._at += 1
        while self._at < len(source) and source[self._at] != '"':
            char = source[self._at]
            if char == "\\" and source[self._at + 1 : self._at + 2] in ('"', "\\", "$", "`", "\n"):
                pieces.append(source[self._at + 1].replace("\n", ""))
                self._at += 2
            elif char in "$`":
                end = _past_substitution(source, self._at)
                pieces.append(source[self._at : end])
                self._at = end
            else:
                pieces.append(char)
                self._at += 1
        self._at += 1
        return "".join(pieces)

    def _add(self, piece: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(piece)

    def _end_word(self) -> None:
        if self._word is None:
            return
        word, self._word = "".join(self._word), None
        if self._redirect is None:
            self._words.append(word)
        elif self._redirect == "write":
            self._writes.append(word)
        self._redirect = None

    def _end_segment(self, joint: Joint) -> None:
        self._end_word()
        self._redirect = None
        if not self._words and not self._writes:
            if joint and joint != ";" and self._done:
                self._done[-1] = replace(self._done[-1], after=joint)
                self._before = joint
            return
        segment = Segment(words=tuple(self._words), before=self._before, after=joint, writes=tuple(self._writes))
        self._done.append(segment)
        self._words, self._writes, self._before = [], [], joint

    def _read_heredocs(self) -> None:
        for mark, tabs in self._heredocs:
            lines: list[str] = []
            while self._at < len(self._text):
                end = self._text.find("\n", self._at)
                line = self._text[self._at : len(self._text) if end < 0 else end]
                self._at = len(self._text) if end < 0 else end + 1
                if (line.lstrip("\t") if tabs else line) == mark:
                    break
                lines.append(line)
            if self._done:
                self._done[-1] = replace(self._done[-1], heredoc="\n".join(lines))
        self._heredocs.clear()


def _past_substitution(source: str, start: int) -> int:
    """Where `$(...)`, `${...}`, a backtick pair or a plain `$` ends."""
    if source[start] == "`":
        end = source.find("`", start + 1)
        return len(source) if end < 0 else end + 1
    opener = source[start + 1 : start + 2]
    if opener == "{":
        end = source.find("}", start)
        return len(source) if end < 0 else end + 1
    if opener != "(":
        return start + 1
    depth, at, mark = 0, start + 1, None
    while at < len(source):
        char = source[at]
        if char in "'\"":
            end = source.find(char, at + 1)
            at = len(source) if end < 0 else end
        elif char == "\\":
            at += 1
        elif char == "<" and (heredoc := _HEREDOC.match(source, at)):
            mark = next(group for group in heredoc.groups()[1:] if group is not None)
            at = heredoc.end() - 1
        elif char == "\n" and mark is not None:
            end = source.find(f"\n{mark}", at)
            at = len(source) if end < 0 else end + len(mark)
            mark = None
        elif char in "()":
            depth += 1 if char == "(" else -1
            if depth == 0:
                return at + 1
        at += 1
    return len(source)
