"""Which names say that their value is a secret, and which values stand for one without being one."""

from __future__ import annotations

import re
from functools import lru_cache

from session_continuity.capture.redaction.redaction_rules import NameRule, RedactionRules, name_words

PLACEHOLDER = re.compile(r"\[secret:([a-z0-9-]{1,40}):([0-9a-f]{6})\]")
"""What stands where a secret stood: its type, and the tag that equal secrets share."""

_ONLY_PLACEHOLDERS = re.compile(r"\W*(?:\[secret:[a-z0-9-]{1,40}:[0-9a-f]{6}\]\W*)+")
_LONGEST_NAME = 100
_FUSED = 6
"""A word of so many letters is found at the end of a longer one, too: dbpassword."""

_NO_VALUE = re.compile(
    r"[\W_]*$"  # nothing to read in it
    r"|\$(?:[A-Z_][A-Z0-9_]*$|[a-z_]+$|\d$|[{(])|%\(?\w*\)?[s%]?$|<[^>]*>?$|\{[\w.{}\s$-]*\}?$"  # a variable
    r"|[*xX.•_-]{3,}$|your[-_ ]|!\w+\s"  # a mask, a hint, a tag
    r"|(?:os\.|process\.|env\.|secrets\.|vault\.|ENV\[|getenv|vars\.|config\.|self\.|this\.)"  # looked up
)
_PATH_OF_NAMES = re.compile(r"[A-Za-z_]\w*(?:(?:\.|::|->)[A-Za-z_]\w*)+$")


class SecretNames:
    """Knows names and values by the rules."""

    def __init__(self, rules: RedactionRules) -> None:
        self._rules = rules
        self._by_last_word: dict[str, list[tuple[tuple[str, ...], NameRule]]] = {}
        for rule in rules.names:
            for words in rule.words:
                self._by_last_word.setdefault(words[-1], []).append((words, rule))
        self._fused = tuple(
            words[0] for rule in rules.names for words in rule.words if len(words) == 1 and len(words[0]) >= _FUSED
        )
        self.roots = frozenset(self._by_last_word)
        self.rule_of = lru_cache(4_096)(self._rule_of)

    def _rule_of(self, name: str) -> NameRule | None:
        """The rule by which this name's value is a secret."""
        if len(name) > _LONGEST_NAME:
            return None
        words, rules = name_words(name), self._rules
        if not words or words in rules.harmless_names:
            return None
        if words[0] in rules.harmless_first or (len(words) > 1 and words[-1] in rules.harmless_last):
            return None
        for end, word in enumerate(words, start=1):
            if word not in self._by_last_word and word.endswith(self._fused):
                word = next(fused for fused in self._fused if word.endswith(fused))  # noqa: PLW2901
            for wanted, rule in self._by_last_word.get(word, ()):
                if (end == len(words) or not rule.last) and (
                    words[max(0, end - len(wanted)) : end - 1] == wanted[:-1]
                ):
                    return rule
        return None

    def is_harmless(self, value: str, name: str = "") -> bool:
        """Whether a value only refers to a secret, stands for one, or is redacted already."""
        word = value.strip(" \t\r\n\"'`.,;")
        lowered = word.lower()
        return (
            lowered in self._rules.harmless_values
            or lowered == name.lower()
            or _NO_VALUE.match(word) is not None
            or (word.startswith("[secret:") and _ONLY_PLACEHOLDERS.fullmatch(value) is not None)
        )


_DIGIT, _LETTER = re.compile(r"\d"), re.compile(r"[^\W\d_]")


def is_mixed(value: str) -> bool:
    """Whether it holds letters and digits, as what a machine made does."""
    return _DIGIT.search(value) is not None and _LETTER.search(value) is not None


def is_code(value: str) -> bool:
    """Whether it reads like a name in a program and not like a value."""
    return bool(_PATH_OF_NAMES.match(value))
