"""The forms in which secrets stand in a text: by how they look, after a name, as an option of a program, in a
header, in base64, or split over several texts.

Every search is linear in the text: nothing is matched from each of many places over the same characters.
"""

from __future__ import annotations

import itertools
import re
import string
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from session_continuity.capture.redaction.redaction_rules import NameRule, OptionRule, RedactionRules
from session_continuity.capture.redaction.secret_names import SecretNames, is_code, is_mixed
from session_continuity.capture.redaction.secret_shapes import (
    PRIVATE_KEY,
    Encoded,
    Searched,
    Span,
    encoded_runs,
    find_jwts,
    find_private_keys,
    find_urls,
    places,
    token_finder,
)

BASE64_DEPTH = 2
"""How often base64 is decoded inside base64."""

_LEAST_VALUE = 3
_LONGEST_NAME = 60
_LONGEST_REJECTED = 200
_LONG_WORD = 20
_LEAST_MORE = 8
_MANY, _MANY_WITHIN = 500, 40

_SPACE = re.compile(r"\s")
_NO_WORD = re.compile(r"\d|[^\w./:-]")
_SEGMENT = re.compile(r"[^\n;|&]+")
_NAME_REST = re.compile(r"[A-Za-z0-9_.-]*+")
_NAME_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_.-")
_SEPARATOR = re.compile(
    r"""\\{0,3}["'`]?\]?[ \t]{0,8}(?:=>|:=|=(?!=)|:(?![:/]))[ \t]{0,8}"""
    r"""|\\{0,3}["']\s{0,4},?\s{0,9}\\{0,3}["']?value\\{0,3}["']?[ \t]{0,4}[=:][ \t]{0,4}"""
    r"""|>(?=[^<>\s]+</)"""
)
_OPTION_SEPARATOR = re.compile(r"[ \t]{1,4}(?!-)")
_SENTENCE_SEPARATOR = re.compile(r"[ \t]is[ \t:]{1,3}")
_QUOTE = re.compile(r"""(?P<prefix>\b[bBrRuUfF]{1,2})?(?P<mark>\\{0,3}["'`])""")
# A placeholder is one piece of a value.
_BARE_VALUE = re.compile(r"""(?:\[secret:[a-z0-9-]{1,40}:[0-9a-f]{6}\]|[^\s"'`,;&|<>(){}\[\]\\#])*+""")
_VARIABLE_VALUE = re.compile(r"""[^\s"'`]*+""")
_COOKIE = re.compile(r"""[\w.%-]+=[^\n"']*+""")
_AUTHORIZATION = re.compile(
    r"""bearer[ \t]{1,4}(?P<bearer>[a-z0-9._~+/=-]{12,}+)"""
    r"""|authorization\\{0,3}["']?\s{0,4}[:=]\s{0,4}\\{0,3}["']?(?:(?!bearer)[a-z0-9-]{2,20}[ \t]{1,4})?"""
    r"""(?P<other>[a-z0-9._~+/=-]{8,}+)"""
)


class Detector(NamedTuple):
    """Searches one form, only in texts that hold one of the `hints` (lower case). A secret of a form that goes
    `across` may be split over texts."""

    hints: tuple[str, ...]
    find: Callable[[Searched], Iterator[Span]]
    across: bool = False


class SecretForms:
    """Searches texts for every form, by the rules."""

    def __init__(self, rules: RedactionRules) -> None:
        self.names = SecretNames(rules)
        self._least = {rule.type: rule.least for rule in rules.tokens}
        self._options = [(rule, _option_pattern(rule)) for rule in rules.options]
        programs = tuple(program for rule in rules.options for program in rule.programs)
        self._detectors = [
            Detector(("-----begin",), find_private_keys, across=True),
            *(
                Detector((_lower(prefix),), token_finder(rule, prefix), across=True)
                for rule in rules.tokens
                for prefix in rule.prefixes
            ),
            Detector(("eyj",), find_jwts, across=True),
            Detector(("://",), find_urls),
            Detector(("bearer", "authorization"), _find_authorizations(self.names)),
            Detector(programs, self._find_options),
            Detector(tuple(self.names.roots), self._find_named),
        ]

    def find(self, texts: Sequence[str], depth: int = 0) -> list[list[Span]]:
        """The secrets of each text."""
        hinted = _lower("\n".join(texts))
        detectors = [one for one in self._detectors if any(hint in hinted for hint in one.hints)]
        found = [_found(detectors, text) for text in texts]
        if depth < BASE64_DEPTH:
            for at, run, spans in self._in_base64(texts, depth):
                inner = spans[0]
                secret = run.text[inner.start : inner.end] if inner.secret is None else inner.secret
                found[at].append(Span(run.start, run.end, inner.type, secret))
        return found

    def _in_base64(self, texts: Sequence[str], depth: int) -> Iterator[tuple[int, Encoded, list[Span]]]:
        runs = [(at, run) for at, text in enumerate(texts) for run in encoded_runs(text)]
        if runs:
            for (at, run), spans in zip(runs, self.find([run.text for _, run in runs], depth + 1), strict=True):
                if spans:
                    yield at, run, spans

    def find_across(self, texts: Sequence[str]) -> Iterator[tuple[int, Span]]:
        """Secrets that begin in one text and end in a later one, as one span in each text they stand in."""
        joined = "".join(texts) if len(texts) > 1 else ""
        searched = Searched(joined, _lower(joined), frozenset(itertools.accumulate(map(len, texts))))
        starts = list(itertools.accumulate(map(len, texts), initial=0))
        for one in self._detectors:
            if not one.across or not any(hint in searched.lowered for hint in one.hints):
                continue
            for span in one.find(searched):
                end = self._true_end(span, joined, starts)
                secret = joined[span.start : end]
                first, last = bisect_right(starts, span.start) - 1, bisect_right(starts, end - 1) - 1
                for at in range(first, last + 1) if first < last else ():
                    start, stop = max(span.start, starts[at]), min(end, starts[at + 1])
                    if start < stop:
                        yield at, Span(start - starts[at], stop - starts[at], span.type, secret)

    def _true_end(self, span: Span, joined: str, starts: list[int]) -> int:
        """Where a token ends that may as well have ended with a text: the next one goes on with it only when it
        looks like it."""
        border = bisect_right(starts, span.start)
        if span.type == PRIVATE_KEY:
            return span.end if joined.endswith("-----", 0, span.end) else starts[border]
        enough = span.start + self._least.get(span.type, 0) + 2
        while starts[border] < span.end:
            more = joined[starts[border] : min(span.end, starts[border + 1])]
            if starts[border] >= enough and not (len(more) >= _LEAST_MORE and is_mixed(more)):
                return starts[border]
            border += 1
        return span.end

    def find_in_words(self, words: Sequence[str]) -> Iterator[tuple[int, Span]]:
        """Secrets in the words of a command line that is a list: a value is a word of its own after its option."""
        line = " ".join(words[:4])
        rules = [rule for rule, _ in self._options if _program_in(rule.programs, line, 0, len(line))]
        for at, (word, value) in enumerate(itertools.pairwise(words), start=1):
            if word.startswith("-") and not value.startswith("-") and _SPACE.search(word) is None:
                named = self.names.rule_of(word.strip("-")) if "=" not in word else None
                if named and len(value) >= _LEAST_VALUE and not self.names.is_harmless(value, word):
                    yield at, Span(0, len(value), named.type)
            for rule in rules:
                if word in rule.options and not rule.glued:
                    span = self._option_value(value, 0, len(value), rule)
                    if span:
                        yield at, span

    def _find_named(self, searched: Searched) -> Iterator[Span]:
        text, at = searched.text, 0
        for start, end in sorted(places(self.names.roots, searched.lowered)):
            if start < at:
                continue
            start, at = _name_around(text, at, start, end)  # noqa: PLW2901
            name = text[start:at].strip(".-")
            rule = self.names.rule_of(name)
            separator = rule and _separator(text, start, at, rule)
            if rule and separator:
                at = separator.end()
                value = self._value(text, separator, rule, name)
                if value is not None:
                    yield value
                    at = value.end

    def _value(self, text: str, separator: re.Match[str], rule: NameRule, name: str) -> Span | None:
        is_variable = name.isupper() and separator[0] == "="
        start = separator.end()
        quote = _QUOTE.match(text, start)
        if quote:
            start = quote.end()
            end = _closing(text, quote["mark"], start)
            if "{" in text[start:end] and "f" in (quote["prefix"] or "").lower():
                return None  # a template
        else:
            form = _BARE_VALUE
            if rule.type == "cookie":
                form = _COOKIE
            elif is_variable and _begins_line(text, separator.start() - len(name)):
                form = _VARIABLE_VALUE
            run = form.match(text, start)
            end = run.end() if run else start
        value = text[start:end]
        if self._is_secret(value, rule, name, is_variable=is_variable, is_quoted=quote is not None) and (
            quote or is_variable or text[end : end + 1] not in ("(", "[", "{")
        ):
            return Span(start, end, rule.type)
        return None

    def _is_secret(self, value: str, rule: NameRule, name: str, *, is_variable: bool, is_quoted: bool) -> bool:
        """Whether the value of a name that says so is a secret, and not a piece of a program or a sentence."""
        is_spaced = _SPACE.search(value) is not None
        if len(value) >= _LONGEST_REJECTED:
            return not is_spaced or rule.type == "cookie"
        if len(value) < _LEAST_VALUE or (rule.mixed and not is_mixed(value) and not is_variable):
            return False
        if self.names.is_harmless(value, name):
            return False
        if is_variable:
            return True
        if rule.type == "cookie":
            return _COOKIE.match(value) is not None
        if is_spaced:
            return False
        if is_quoted:
            return rule.type == "password" or not value.isalpha() or len(value) >= _LONG_WORD
        if value.isdigit():
            return rule.type == "password" and len(value) > _LEAST_VALUE
        return not is_code(value) and _NO_WORD.search(value) is not None

    def _find_options(self, searched: Searched) -> Iterator[Span]:
        text = searched.text
        options = [one for one in self._options if any(program in text for program in one[0].programs)]
        for segment in _SEGMENT.finditer(text) if options else ():
            for rule, option in options:
                run = _program_in(rule.programs, text, segment.start(), segment.end())
                for match in option.finditer(text, run, segment.end()) if run else ():
                    if text[match.start() - 1].isspace():
                        start, end = match.span("plain" if match["quoted"] is None else "quoted")
                        if span := self._option_value(text, start, end, rule):
                            yield span

    def _option_value(self, text: str, start: int, end: int, rule: OptionRule) -> Span | None:
        """The secret part of an option's value, if it is a secret."""
        if rule.pair:
            colon = text.find(":", start, end)
            if colon < 0 or "//" in text[start:end] or text[colon + 1 : end].isdigit():
                return None
            start = colon + 1
        is_secret = end - start >= _LEAST_VALUE and not self.names.is_harmless(text[start:end])
        return Span(start, end, rule.type) if is_secret else None


def _lower(text: str) -> str:
    """The text in lower case, of the same length."""
    return text.replace("\u0130", "i").lower()


def _found(detectors: Sequence[Detector], text: str) -> list[Span]:
    """The spans of one text. One that begins with secret after secret goes whole: it says nothing else, and so
    takes no longer than another."""
    if not detectors or not text:
        return []
    searched = Searched(text, _lower(text))
    found: list[Span] = []
    for one in detectors:
        for span in one.find(searched):
            found.append(span)
            if len(found) >= _MANY and span.end < len(found) * _MANY_WITHIN:
                return [Span(0, len(text), "many")]
    return found


def _find_authorizations(names: SecretNames) -> Callable[[Searched], Iterator[Span]]:
    def find(searched: Searched) -> Iterator[Span]:
        for match in _AUTHORIZATION.finditer(searched.lowered):
            start, end = match.span("other" if match["bearer"] is None else "bearer")
            value = searched.text[start:end]
            is_sure = is_mixed(value) or len(value) >= _LONG_WORD
            if is_sure and not names.is_harmless(value) and not is_code(value):
                yield Span(start, end, "authorization")

    return find


def _option_pattern(rule: OptionRule) -> re.Pattern[str]:
    options = "|".join(map(re.escape, rule.options))
    value = r"""(?:"(?P<quoted>[^"\n]+)"|(?P<plain>[^\s"']+))"""
    return re.compile(f"(?:{options}){'' if rule.glued else '[ =]'}{value}")


def _program_in(programs: Iterable[str], text: str, start: int, end: int) -> int:
    """Where the name of one of the programs ends in a command, 0 when it is not in it."""
    for program in programs:
        at = text.find(program, start, end)
        while at >= 0:
            after = at + len(program)
            before = text[at - 1] if at > start else " "
            if not (before.isalnum() or before in "_.-") and (after == end or text[after].isspace()):
                return after
            at = text.find(program, after, end)
    return 0


def _name_around(text: str, floor: int, start: int, end: int) -> tuple[int, int]:
    """The whole name around a word of it, not further left than `floor`."""
    floor = max(floor, start - _LONGEST_NAME)
    while start > floor and text[start - 1] in _NAME_CHARACTERS:
        start -= 1
    rest = _NAME_REST.match(text, end)
    return start, rest.end() if rest else end


def _separator(text: str, start: int, end: int, rule: NameRule) -> re.Match[str] | None:
    """What stands between a name and its value, if one follows."""
    found = _SEPARATOR.match(text, end)
    if found is None and text[start : start + 1] == "-":
        return _OPTION_SEPARATOR.match(text, end)
    if found is None and rule.type == "password":
        return _SENTENCE_SEPARATOR.match(text, end)
    return found


def _closing(text: str, quote: str, start: int) -> int:
    """Where a quoted value ends: at its quote, or with its line."""
    at = text.find(quote, start)
    while at > 0 and len(quote) == 1 and text[at - 1] == "\\":
        at = text.find(quote, at + 1)
    end = at if at >= 0 else len(text)
    line = text.find("\n", start, end)
    return end if line < 0 else line


def _begins_line(text: str, start: int) -> bool:
    """Whether a name is the first of its line, but for what shells and Dockerfiles put before a variable."""
    before = text[max(0, start - 8) : start].rpartition("\n")
    return before[2].strip() in ("", "export", "set", "ENV", "ARG") and (
        before[1] == "\n" or start <= len("export ")
    )
