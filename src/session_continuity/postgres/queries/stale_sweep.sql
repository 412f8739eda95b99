-- fragment: silent_undeclared
status = 'active' AND superseded_by IS NULL AND heartbeat_interval_seconds IS NULL
    AND last_heartbeat < now() - %(stale_after)s::interval
    AND heartbeat_bucket <= date_bin('10 minutes', now() - %(stale_after)s::interval, '2000-01-01 00:00:00+00')

-- fragment: silent_declared
status = 'active' AND superseded_by IS NULL AND heartbeat_interval_seconds IS NOT NULL
    AND last_heartbeat < now() - make_interval(
        secs => greatest(%(missed_beats)s::integer * heartbeat_interval_seconds, %(shortest_seconds)s::integer))
    AND heartbeat_bucket <= date_bin(
        '10 minutes', now() - make_interval(secs => %(shortest_seconds)s::integer), '2000-01-01 00:00:00+00')

-- name: find_silent
-- Active sessions whose time has run out, by the index of each of the two kinds. The order keeps a plan that knows no
-- values, and believes that a third of all is silent, from reading the table until it has found the first few.
(SELECT instance_id, project, host, last_heartbeat, process_seen_at, heartbeat_interval_seconds
FROM supervisor_sessions WHERE {silent_undeclared}
ORDER BY heartbeat_bucket LIMIT %(limit)s)
UNION ALL
(SELECT instance_id, project, host, last_heartbeat, process_seen_at, heartbeat_interval_seconds
FROM supervisor_sessions WHERE {silent_declared}
ORDER BY heartbeat_bucket LIMIT %(limit)s)
LIMIT %(limit)s;

-- name: count_silent
-- How many active sessions are silent, and how many are not, counted on to no more than the silent ones.
WITH silent AS MATERIALIZED (
    SELECT (SELECT count(*) FROM supervisor_sessions WHERE {silent_undeclared})
        + (SELECT count(*) FROM supervisor_sessions WHERE {silent_declared}) AS sessions
)
SELECT sessions, (
    SELECT count(*) FROM (
        SELECT FROM supervisor_sessions
        WHERE status = 'active' AND superseded_by IS NULL
            AND NOT coalesce(({silent_undeclared}) OR ({silent_declared}), false)
        ORDER BY heartbeat_bucket DESC
        LIMIT (SELECT sessions FROM silent)
    ) others
)
FROM silent;

-- name: mark_silent
-- Silent sessions become stale, each with its event. Who is being written to at this moment lives and is passed over.
WITH undeclared AS MATERIALIZED (
    SELECT instance_id FROM supervisor_sessions WHERE {silent_undeclared}
    ORDER BY heartbeat_bucket LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), declared AS MATERIALIZED (
    SELECT instance_id FROM supervisor_sessions WHERE {silent_declared}
    ORDER BY heartbeat_bucket LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), silent AS MATERIALIZED (
    SELECT instance_id, row_number() OVER (ORDER BY instance_id) AS place
    FROM (SELECT instance_id FROM undeclared UNION ALL SELECT instance_id FROM declared) found
    LIMIT %(limit)s
), marked AS (
    UPDATE supervisor_sessions s SET status = 'stale', last_sequence_num = s.last_sequence_num + 1
    FROM silent
    WHERE s.instance_id = ANY (ARRAY[silent.instance_id]) AND s.status = 'active' AND s.superseded_by IS NULL
    RETURNING s.instance_id, s.last_sequence_num, s.owner_epoch, s.last_heartbeat, s.process_seen_at,
        s.heartbeat_interval_seconds, silent.place
)
INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)
SELECT e.event_id, m.instance_id, 'instance_stale', m.last_sequence_num, jsonb_build_object(
        'reason', 'silent', 'last_heartbeat', m.last_heartbeat, 'process_seen_at', m.process_seen_at,
        'heartbeat_interval_seconds', m.heartbeat_interval_seconds,
        'calls_in_flight', (
            SELECT count(*) FROM command_log c
            WHERE c.instance_id = m.instance_id AND c.outcome IS NULL AND c.success IS NULL
        )), m.owner_epoch
FROM marked m JOIN unnest(%(event_ids)b::uuid[]) WITH ORDINALITY AS e (event_id, place) ON e.place = m.place
RETURNING instance_id, sequence_num;

-- name: mark_gone
-- Sessions whose very process is gone become stale at once, unless something was heard of them since.
WITH gone AS MATERIALIZED (
    SELECT s.instance_id, g.place
    FROM unnest(%(instance_ids)b::text[], %(processes)b::text[])
        WITH ORDINALITY AS g (instance_id, process, place)
    JOIN supervisor_sessions s ON s.instance_id = g.instance_id
    WHERE s.status = 'active' AND s.superseded_by IS NULL
        AND (g.process IS NULL OR s.metadata -> 'process' = g.process::jsonb)
        AND s.last_heartbeat < now() - %(quiet_for)s::interval
    FOR NO KEY UPDATE OF s SKIP LOCKED
), marked AS (
    UPDATE supervisor_sessions s SET status = 'stale', last_sequence_num = s.last_sequence_num + 1
    FROM gone
    WHERE s.instance_id = ANY (ARRAY[gone.instance_id]) AND s.status = 'active' AND s.superseded_by IS NULL
    RETURNING s.instance_id, s.last_sequence_num, s.owner_epoch, s.last_heartbeat, s.process_seen_at,
        s.heartbeat_interval_seconds, gone.place
)
INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)
SELECT e.event_id, m.instance_id, 'instance_stale', m.last_sequence_num, jsonb_build_object(
        'reason', 'process_gone', 'last_heartbeat', m.last_heartbeat, 'process_seen_at', m.process_seen_at,
        'heartbeat_interval_seconds', m.heartbeat_interval_seconds,
        'calls_in_flight', (
            SELECT count(*) FROM command_log c
            WHERE c.instance_id = m.instance_id AND c.outcome IS NULL AND c.success IS NULL
        )), m.owner_epoch
FROM marked m JOIN unnest(%(event_ids)b::uuid[]) WITH ORDINALITY AS e (event_id, place) ON e.place = m.place
RETURNING instance_id, sequence_num;

-- name: find_processes
-- The processes of a host's sessions as they were seen, and whether a heartbeat is due; long dead ones are left out.
SELECT instance_id, status, metadata -> 'process',
    last_heartbeat < now() - %(due_after)s::interval
        OR coalesce(process_seen_at, '-infinity') < now() - interval '5 minutes'
FROM supervisor_sessions
WHERE coalesce(host, '') = %(host)s AND status <> 'closed' AND superseded_by IS NULL
    AND jsonb_typeof(metadata -> 'process') = 'object'
    AND (status = 'active' OR last_heartbeat > now() - interval '7 days')
ORDER BY thread_id
LIMIT %(limit)s;

-- name: find_stale_unsaved
-- Sessions that became stale lately and have no checkpoint since.
SELECT e.instance_id, e.sequence_num, e.event_data ->> 'reason'
FROM event_store e
JOIN supervisor_sessions s ON s.instance_id = e.instance_id
WHERE e.event_type = 'instance_stale' AND e.timestamp > now() - interval '10 minutes' AND s.superseded_by IS NULL
    AND NOT EXISTS (
        SELECT FROM checkpoints c WHERE c.instance_id = e.instance_id AND c.sequence_num > e.sequence_num
    )
ORDER BY e.timestamp
LIMIT %(limit)s;

-- name: bring_back_from_future
-- Heartbeats of a time to come were written under a clock that was set back since: they count as of now.
UPDATE supervisor_sessions s SET last_heartbeat = now()
FROM (
    SELECT instance_id FROM supervisor_sessions
    WHERE status = 'active' AND superseded_by IS NULL
        AND heartbeat_bucket > date_bin('10 minutes', now(), '2000-01-01 00:00:00+00')
        AND last_heartbeat > now() + interval '1 minute'
    ORDER BY heartbeat_bucket DESC LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
) future
WHERE s.instance_id = ANY (ARRAY[future.instance_id])
RETURNING s.instance_id;

-- name: mark_stale
-- One active session becomes stale because a person says so.
WITH marked AS (
    UPDATE supervisor_sessions SET status = 'stale', last_sequence_num = last_sequence_num + 1
    WHERE instance_id = %(instance_id)s AND status = 'active' AND superseded_by IS NULL
    RETURNING {session_columns}
), appended AS (
    INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)
    SELECT %(event_id)s::uuid, instance_id, 'instance_stale', last_sequence_num, %(event_data)s::jsonb, owner_epoch
    FROM marked
)
SELECT {session_columns} FROM marked;
