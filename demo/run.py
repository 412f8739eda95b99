"""The main job, end to end: a session is recorded, dies half-way, is resumed, and its dead copy can write no more.

python demo/run.py [TRANSCRIPT]     (make demo, or make demo TRANSCRIPT=path)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from session_continuity.capture.facts.transcripts import detect

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("CONTINUITY_HOME") or HERE.parent / ".demo")
DEATH = 24  # the record of the scripted session after which the recording process is killed


def main() -> int:
    os.environ["CONTINUITY_HOME"] = str(HOME)
    os.environ.pop("CONTINUITY_DSN", None)
    recording = Path(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else scripted_session()
    harness = detect(recording)
    if harness is None:
        print(f"{recording} is no recording of Claude Code or Codex that this release knows", file=sys.stderr)
        return 2
    records = sum(1 for _ in recording.open("rb"))
    death = DEATH if recording.parent == HOME else max(1, records // 2)

    say(f"1. An agent works; its {harness} session is recorded as it happens.")
    print(f"   {recording.name}: {records} records, into the embedded PostgreSQL of {HOME}")
    recorded, instance_id = record_until(harness, recording, death, records)

    say(f"2. kill -9: the recording process died after {recorded} of {records} records.")
    old = json.loads(continuity("sessions", "show", instance_id, "--json"))
    print(
        f"   The registry knows it as {old['instance_id']} (epoch {old['owner_epoch']},"
        f" {old['last_sequence_num']} events)."
    )

    say(f"3. continuity resume {old['instance_id']}")
    resumed = json.loads(continuity("resume", old["instance_id"], "--json"))
    new = resumed["instance_id"]
    print(
        f"   {new} goes on with the thread (epoch {resumed['owner_epoch']}). Its brief,"
        f" {resumed['tokens']} tokens:\n"
    )
    print("\n".join(f"   | {line}" for line in resumed["brief"].splitlines()))

    say("4. The old copy wakes up and tries to write.")
    command = ["events", "append", old["instance_id"], "note_recorded", '{"text": "I am still here"}']
    print(f"   $ continuity {' '.join(command[:4])} ...")
    refused = run(*command)
    print(f"   {refused.stderr.strip()}\n   exit code {refused.returncode}: refused, nothing was written.")
    accepted = run("events", "append", new, "note_recorded", '{"text": "Going on with the plan"}')
    print(f"   The new instance writes: exit code {accepted.returncode}.")
    if refused.returncode != 5 or accepted.returncode != 0:
        print("   That is not what should have happened.", file=sys.stderr)
        return 1

    continuity("db", "stop")
    say("Done. What to type next (the database starts by itself):")
    program = Path(sys.executable).with_name("continuity")
    print(f"   export CONTINUITY_HOME={HOME}\n   {program} timeline {old['instance_id']}")
    print(f"   {program} sessions list\n   {program} db verify\n   {program} --help")
    return 0


def scripted_session() -> Path:
    """The scripted session, set in a real git repository of its own."""
    project = HOME / "shop"
    if not (project / ".git").exists():
        (project / "app").mkdir(parents=True, exist_ok=True)
        (project / "app" / "login.py").write_text("def login(user, password):\n    return check(user, password)\n")
        (project / "app" / "limiter.py").write_text("TRIES, SECONDS = 5, 60\n")
        git(project, "init", "-q", "-b", "rate-limit")
        git(project, "add", "-A")
        git(project, "commit", "-q", "-m", "Limit login attempts per address")
    head = git(project, "rev-parse", "--short", "HEAD")
    (project / "app" / "login.py").write_text("def login(user, password):  # half edited when the agent died\n")
    script = (HERE / "session.jsonl").read_text("utf-8")
    recording = HOME / "session.jsonl"
    session = f"5e55104e-0000-4000-8000-{os.urandom(6).hex()}"
    text = script.replace("{cwd}", str(project)).replace("{sha}", head).replace("{session}", session)
    recording.write_text(text, "utf-8")
    return recording


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def record_until(harness: str, recording: Path, death: int, records: int) -> tuple[int, str]:
    """Start the recording process and kill it when `death` records are stored."""
    pause = str(min(0.05, 5 / records))
    command = [sys.executable, str(HERE / "record.py"), harness, str(recording), pause]
    done, instance_id = 0, ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            number, instance_id = line.split()
            done = int(number)
            if sys.stdout.isatty():
                print(f"\r   recorded {done} of {records} ", end="", flush=True)
            if done >= death:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
    print()
    if process.returncode != -signal.SIGKILL:
        raise SystemExit(f"the recording process ended by itself with {process.returncode}")
    return done, instance_id


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "session_continuity", *arguments], capture_output=True, text=True)


def continuity(*arguments: str) -> str:
    done = run(*arguments)
    if done.returncode != 0:
        raise SystemExit(
            f"continuity {' '.join(arguments)} failed with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def say(sentence: str) -> None:
    print(f"\n{sentence}")


if __name__ == "__main__":
    HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    sys.exit(main())
