"""Redaction: how long hostile and usual texts take, and what is taken out of recordings that hold no secret.

    python bench/redaction.py [--data FOLDER] [--kilobytes 1000] [--cheap]

Hostile texts repeat what makes each rule begin to match and fail late. The recordings are real sessions whose
authors took their secrets out, so nearly everything that is redacted in them is redacted falsely; each is shown
with what stands around it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from session_continuity.capture.facts.transcripts import open_lines, parse_object, records
from session_continuity.capture.redaction.json_leaves import take_apart
from session_continuity.capture.redaction.redaction import Redactor
from session_continuity.capture.redaction.redaction_rules import load_redaction_rules
from session_continuity.capture.redaction.secret_names import PLACEHOLDER
from session_continuity.settings import load_settings

DATA = Path(__file__).parents[2] / "shared" / "data"
LIMIT_MS = 50


def hostile() -> Iterator[tuple[str, str]]:
    """Pieces to repeat, by name: every rule, begun and broken off in every way that its search can be long."""
    rules = load_redaction_rules()
    for rule in rules.tokens:
        filler = next(c for c in "aA0a" if c in rule.characters or c.isalpha())
        for prefix in rule.prefixes:
            yield f"{rule.type} {prefix}", prefix
            yield f"{rule.type} {prefix} cut", prefix + filler * (rule.least - 1) + " "
    for rule in rules.names:
        for words in rule.words:
            name = "_".join(words)
            for end in ("", "=", "='", '="', " is ", ":", "=x1,", '\\\\\\"', '="\\"'):
                yield f"{rule.type} {name}{end}", name + end
            yield f"{rule.type} new {name}", f"{name}=${{x}} "
    for rule in rules.options:
        for program in rule.programs:
            yield f"{program}", f"{program} {rule.options[0]} "
            yield f"{program} glued", f"{program} {rule.options[0]}x1y2 "
    for piece in (
        "://", "://a:b", "a://b:c@", "://" + "a" * 200 + ":", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "eyJ",
        "eyJ.", "eyJaaaaaaaaaa.", "eyJaaaaaaaaaa.eyJ", "bearer ", "authorization: ", "authorization: bearer a ",
        "[secret:", "[secret:password:abc123]", "A" * 64 + "\n",
        "QUFBQUFBQUFBQUFBQUFBQUE= ", "QUFB", "\\", '"', "'", "a", " ",
        "\u0130", "\U0001f600", "=", ":", "\n", "x" * 15 + " ", "1pass=a1 ", "\x00",
    ):  # fmt: skip
        yield repr(piece)[:40], piece


def measure(redactor: Redactor, value: Any) -> float:
    started = time.process_time()
    redactor.redact(value)
    return 1000 * (time.process_time() - started)


def run_hostile(redactor: Redactor, kilobytes: int) -> None:
    """Each text at a tenth of the size and at the whole: milliseconds for 100 kB, and how they grow."""
    rows: list[tuple[float, float, str]] = []
    for name, piece in hostile():
        small = (piece * (kilobytes * 100 // len(piece) + 1))[: kilobytes * 100]
        large = (piece * (kilobytes * 1000 // len(piece) + 1))[: kilobytes * 1000]
        rows.append(
            (measure(redactor, small) / kilobytes * 1000, measure(redactor, large) / kilobytes * 100, name)
        )
    rows.sort(key=lambda row: row[1], reverse=True)
    slow = [row for row in rows if row[1] > LIMIT_MS]
    times = [row[1] for row in rows]
    print(
        f"{len(rows)} hostile texts of {kilobytes} kB, ms for 100 kB: median {statistics.median(times):.1f},",
        end="",
    )
    print(f" worst {max(times):.1f}; {len(slow)} over {LIMIT_MS}")
    for at_small, at_large, name in rows[:15]:
        print(f"  {at_large:7.1f}  (at a tenth of the size {at_small:.1f})  {name}")


def run_payloads(redactor: Redactor, folder: Path) -> None:
    """Real hook payloads, each redacted alone."""
    payloads = [parse_object(path.read_text("utf-8")) for path in sorted(folder.rglob("hooks/*/*.json"))]
    took = sorted(measure(redactor, payload) for payload in payloads for _ in range(3))
    if took:
        median, p99 = statistics.median(took), took[len(took) * 99 // 100]
        print(f"{len(payloads)} hook payloads: median {median:.3f} ms, p99 {p99:.3f} ms")


def run_recordings(redactor: Redactor, folder: Path, shown: int) -> None:
    """What is taken out of the recordings."""
    strings = characters = hit = 0
    kinds: Counter[str] = Counter()
    samples: dict[str, list[str]] = {}
    started = time.process_time()
    for path in sorted((*folder.rglob("*.jsonl"), *folder.rglob("hooks/*/*.json"))):
        whole = path.suffix == ".json"
        read = [parse_object(path.read_text("utf-8"))] if whole else [r for _, r in records(open_lines(path))]
        for record in read:
            if not isinstance(record, dict):
                continue
            _, before, keys = take_apart(record)
            _, after, keys_after = take_apart(redactor.redact(record))
            for old, new in zip((*before, *keys), (*after, *keys_after), strict=True):
                strings, characters = strings + 1, characters + len(old.text)
                if old.text == new.text:
                    continue
                hit += 1
                for match in PLACEHOLDER.finditer(new.text):
                    kinds[match[1]] += 1
                    around = new.text[max(0, match.start() - 60) : match.end() + 20].replace("\n", "⏎")
                    samples.setdefault(match[1], []).append(f"{old.name}: …{around}")
    seconds = time.process_time() - started
    print(f"{strings:,} strings, {characters:,} characters in {seconds:.1f} s: {hit} strings changed,", end="")
    print(f" {sum(kinds.values())} redactions: {dict(kinds)}")
    for kind, texts in samples.items():
        for text, times in Counter(texts).most_common(shown):
            print(f"  {kind} x{times}: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of recordings")
    parser.add_argument("--kilobytes", type=int, default=1_000, help="size of the hostile texts")
    parser.add_argument("--cheap", action="store_true", help="without the full engine")
    parser.add_argument("--shown", type=int, default=8, help="samples of each type")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        redactor = Redactor(load_settings(home=home))
        if given.cheap:
            redactor.__dict__["engine"] = None
        print("full engine:", "not used" if redactor.engine is None else "used")
        redactor.redact("warm up")
        if given.kilobytes:
            run_hostile(redactor, given.kilobytes)
        if given.data.is_dir():
            run_payloads(redactor, given.data)
            run_recordings(redactor, given.data, given.shown)


if __name__ == "__main__":
    main()
