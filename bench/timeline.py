"""One session's timeline: merged by time, against the report's join, which multiplies its rows."""

from __future__ import annotations

from harness import Bench, repeat
from session_continuity import NewCommand, NewEvent, SessionContinuity
from workload import EVENT, EVENT_TYPE, connect, register

ROWS, CHECKPOINTS = 300, 10
SESSION = "consilio-PS-abc123"

_FILL = (
    "INSERT INTO supervisor_sessions (instance_id, project, instance_type)"
    " VALUES (%(session)s, 'consilio-s', 'PS')",
    "INSERT INTO event_store (instance_id, event_type, sequence_num, event_data)"
    " SELECT %(session)s, 'commit_created', n, '{\"sha\": \"3f786850\"}' FROM generate_series(1, %(rows)s) n",
    "INSERT INTO command_log (instance_id, command_type, action, success)"
    " SELECT %(session)s, 'tool', 'edit a file', true FROM generate_series(1, %(rows)s)",
    "INSERT INTO checkpoints (instance_id, checkpoint_type, sequence_num, context_window_percent)"
    " SELECT %(session)s, 'manual', n, 45 FROM generate_series(1, %(checkpoints)s) n",
    "ANALYZE",
)
_REPORT_TIMELINE = """
SELECT
  e.sequence_num,
  e.event_type,
  c.action as last_command,
  cp.context_window_percent
FROM event_store e
LEFT JOIN command_log c ON c.instance_id = e.instance_id
LEFT JOIN checkpoints cp ON cp.instance_id = e.instance_id
WHERE e.instance_id = 'consilio-PS-abc123'
ORDER BY e.sequence_num"""


def run(bench: Bench) -> None:
    with (
        bench.server.database("timeline", "library") as ours,
        bench.server.database("report", "report") as report,
        SessionContinuity(dsn=ours) as client,
        connect(report) as plain,
    ):
        (session,) = register(client)
        client.append_events(
            session, [NewEvent(event_type=EVENT_TYPE, event_data=EVENT) for _ in range(ROWS - CHECKPOINTS - 1)]
        )
        client.record_commands(
            session,
            [NewCommand(command_type="tool", action="edit a file", outcome="success") for _ in range(ROWS)],
        )
        for _ in range(CHECKPOINTS):
            client.take_checkpoint(session)
        for statement in _FILL:
            plain.execute(statement, {"session": SESSION, "rows": ROWS, "checkpoints": CHECKPOINTS})
        figures = bench.measure(
            {
                "product": repeat(lambda: client.get_timeline(session, limit=10_000)),
                "the report's join": repeat(lambda: plain.execute(_REPORT_TIMELINE).fetchall()),
            }
        )
        what = f"timeline of {ROWS} events, {ROWS} commands, {CHECKPOINTS} checkpoints"
        bench.compare(what, figures, "product", "the report's join", at_least=100)
