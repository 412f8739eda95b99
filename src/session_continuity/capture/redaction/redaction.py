"""Takes secrets out of decoded JSON values, before anything of them is stored, logged or sent.

What is found stands as `[secret:<type>:<tag>]`: the tag is keyed, so that equal secrets can be told to be equal
and nothing else about them. What is found anywhere in a value is taken out everywhere in it, keys too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TypeAlias, cast
from urllib.parse import quote

from session_continuity.capture.facts.facts import JSON, Record
from session_continuity.capture.redaction.json_leaves import Leaf, put_together, take_apart
from session_continuity.capture.redaction.redaction_rules import USER_FILE, load_redaction_rules
from session_continuity.capture.redaction.secret_engine import SecretEngine, load_engine
from session_continuity.capture.redaction.secret_forms import SecretForms
from session_continuity.capture.redaction.secret_names import PLACEHOLDER, is_mixed
from session_continuity.capture.redaction.secret_shapes import Span, encoded_runs, places
from session_continuity.capture.redaction.tag_key import load_tag_key
from session_continuity.settings import Settings

Wanted: TypeAlias = dict[str, tuple[str, str]]
"""A form of a secret, with the secret's type and the secret itself."""

EVERYWHERE = 200
"""So many of a value's secrets, the longest, are looked for everywhere else in it."""

_ROUNDS = 4
_LEAST_EVERYWHERE = 6
_KEY_LINE = 40


def engine_of(settings: Settings) -> SecretEngine | None:
    """The full engine; None when the `secrets` extra is not installed. The first call in a data folder compiles
    its rules, which takes some three seconds."""
    return load_engine(settings.home / "cache" / "secret-rules")


class Redactor:
    """Redacts by the shipped rules, those of `redaction.toml` in the data folder, and the full engine when it is
    installed. `counts` says how many secrets of each type were taken out so far. Raises InvalidInput when the
    user's file is wrong, OSError when the key of the tags can't be kept."""

    def __init__(self, settings: Settings) -> None:
        self.counts: Counter[str] = Counter()
        self._rules = load_redaction_rules(settings.home / USER_FILE)
        self._forms = SecretForms(self._rules)
        self._key = load_tag_key(settings.home)
        self._settings = settings

    @cached_property
    def engine(self) -> SecretEngine | None:
        """The full engine; None when the `secrets` extra is not installed."""
        return engine_of(self._settings)

    def redact(self, value: JSON) -> JSON:
        """The value without its secrets, in the same shape; the value itself when there are none. Never raises:
        a text that can't be searched is taken out whole. Redacting again changes nothing."""
        for _ in range(_ROUNDS):
            root, values, keys = take_apart(value)
            leaves = [*values, *keys]
            changes = [
                (leaf, self._replaced(leaf.text, spans))
                for leaf, spans in zip(leaves, self._search(leaves, len(values)), strict=True)
                if spans
            ]
            if not changes:
                break
            put_together(changes)
            value = root[0]
        return value

    def _search(self, leaves: Sequence[Leaf], values: int) -> list[list[Span]]:
        """What is to be taken out of each leaf, in order and without overlap; the first `values` are no keys."""
        texts = [leaf.text for leaf in leaves]
        found = self._forms.find(texts)
        for at, span in (
            *self._forms.find_across(texts[:values]),
            *self._by_keys(leaves[:values]),
            *self._in_lists(leaves[:values]),
            *self._by_engine(texts),
        ):
            found[at].append(span)
        merged = [self._merged(text, spans) for text, spans in zip(texts, found, strict=True)]
        secrets = self._to_find_everywhere(texts, merged)
        if secrets:
            for at, span in self._everywhere(texts, secrets):
                merged[at].append(span)
            merged = [self._merged(text, spans) for text, spans in zip(texts, merged, strict=True)]
        return merged

    def _by_keys(self, values: Sequence[Leaf]) -> Iterator[tuple[int, Span]]:
        """A string under a key that names a secret goes whole; so does the value beside a name of one."""
        names = self._forms.names
        for at, leaf in enumerate(values):
            rule = names.rule_of(leaf.name) if leaf.name else None
            if rule is None and leaf.place == "value":
                beside = cast("Record", leaf.holder)
                called = next((beside[name] for name in ("name", "key", "variable") if name in beside), None)
                rule = names.rule_of(called) if isinstance(called, str) else None
            if rule and not names.is_harmless(leaf.text) and (is_mixed(leaf.text) or not rule.mixed):
                yield at, Span(0, len(leaf.text), rule.type)

    def _in_lists(self, values: Sequence[Leaf]) -> Iterator[tuple[int, Span]]:
        """Command lines that are lists of words."""
        start = 0
        for end in range(1, len(values) + 1):
            if end < len(values) and values[end].holder is values[start].holder:
                continue
            words = [leaf.text for leaf in values[start:end]]
            if len(words) > 1 and isinstance(values[start].holder, list):
                for at, span in self._forms.find_in_words(words):
                    yield start + at, span
            start = end

    def _by_engine(self, texts: Sequence[str]) -> Iterator[tuple[int, Span]]:
        if self.engine is None:
            return
        try:
            yield from _parted(self.engine.find("\n".join(texts)), texts)
            return
        except BaseException as error:
            _raise_unless_it_failed(error)
        for at, text in enumerate(texts):
            try:
                for span in self.engine.find(text):
                    yield at, span
            except BaseException as error:
                _raise_unless_it_failed(error)
                yield at, Span(0, len(text), "unsearched")

    def _merged(self, text: str, spans: list[Span]) -> list[Span]:
        """Spans in order, overlapping ones as one; what is allowed or redacted already is left out."""
        if not spans:
            return spans
        done = [match.span() for match in PLACEHOLDER.finditer(text)]
        merged: list[Span] = []
        for span in sorted((_outside(span, done) for span in spans), key=lambda one: (one.start, -one.end)):
            if span.start >= span.end or span.type in self._rules.allowed_types:
                continue
            if text[span.start : span.end] in self._rules.allowed_values:
                continue
            if merged and span.start < merged[-1].end:
                last = merged[-1]
                if span.end > last.end:
                    merged[-1] = Span(last.start, span.end, last.type)
            else:
                merged.append(span)
        return merged

    def _to_find_everywhere(
        self, texts: Sequence[str], merged: Sequence[list[Span]]
    ) -> dict[str, tuple[str, str]]:
        """What to look for, with type and secret: each secret worth looking for, as it is and as it is written in
        a URL or in JSON, and the lines of keys."""
        secrets: dict[str, str] = {}
        for text, spans in zip(texts, merged, strict=True):
            for span in spans:
                secret = text[span.start : span.end] if span.secret is None else span.secret
                if is_worth_finding(secret):
                    secrets.setdefault(secret, span.type)
        wanted: Wanted = {}
        for secret in sorted(secrets, key=len, reverse=True)[:EVERYWHERE]:
            lines = [line.strip() for line in secret.splitlines()] if "\n" in secret else []
            in_url = quote(secret, safe="", errors="replace")
            for form in (secret, in_url, json.dumps(secret)[1:-1], *lines):
                if form == secret or len(form) >= _KEY_LINE or form not in lines:
                    wanted.setdefault(form, (secrets[secret], secret))
        return wanted

    def _everywhere(self, texts: Sequence[str], wanted: Wanted) -> Iterator[tuple[int, Span]]:
        yield from _parted(_spans_of(wanted, "\n".join(texts)), texts)
        runs = [(at, run) for at, text in enumerate(texts) for run in encoded_runs(text)]
        said = [run.text for _, run in runs]
        for number, span in _parted(_spans_of(wanted, "\n".join(said)), said):
            at, run = runs[number]
            yield at, Span(run.start, run.end, span.type, span.secret)

    def _replaced(self, text: str, spans: list[Span]) -> str:
        pieces: list[str] = []
        at = 0
        for span in spans:
            secret = text[span.start : span.end] if span.secret is None else span.secret
            pieces += (text[at : span.start], f"[secret:{span.type}:{self._tag(secret)}]")
            at = span.end
            self.counts[span.type] += 1
        return "".join((*pieces, text[at:]))

    def _tag(self, secret: str) -> str:
        return hmac.new(self._key, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:6]


def _outside(span: Span, done: Sequence[tuple[int, int]]) -> Span:
    """The span without the placeholders at its ends; empty when it lies in one."""
    start, end = span.start, span.end
    at = bisect_right(done, (start, sys.maxsize)) - 1
    if at >= 0 and start < done[at][1]:
        start = done[at][1]
    at = bisect_right(done, (end - 1, sys.maxsize)) - 1
    if at >= 0 and end <= done[at][1]:
        end = done[at][0]
    return span if (start, end) == (span.start, span.end) else Span(start, end, span.type)


def is_worth_finding(secret: str) -> bool:
    """Whether a secret is so much its own that its letters elsewhere are no coincidence."""
    if len(secret) < _LEAST_EVERYWHERE or PLACEHOLDER.search(secret):
        return False
    return is_mixed(secret) or (len(secret) >= 8 and not secret.isalpha()) or len(secret) >= 20


def _spans_of(wanted: Wanted, text: str) -> list[Span]:
    return [Span(start, end, *wanted[text[start:end]]) for start, end in places(wanted, text)]


def _parted(spans: Sequence[Span], texts: Sequence[str]) -> Iterator[tuple[int, Span]]:
    """Spans of the texts joined by line breaks as spans of each text."""
    starts = list(accumulate((len(text) + 1 for text in texts), initial=0))
    for span in spans:
        for at in range(bisect_right(starts, span.start) - 1, len(texts)):
            if starts[at] >= span.end:
                break
            start, end = max(0, span.start - starts[at]), min(len(texts[at]), span.end - starts[at])
            if start < end:
                yield at, Span(start, end, span.type, span.secret)


def _raise_unless_it_failed(error: BaseException) -> None:
    """A panic of the engine is no Exception; what ends the program is none either."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
