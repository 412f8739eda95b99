-- fragment: session_columns
instance_id, project, instance_type, status, context_percent, current_epic, last_heartbeat, created_at,
closed_at, thread_id, owner_epoch, superseded_by, last_sequence_num, parent_instance_id, parent_sequence_num,
relation, harness, harness_session_id, host, pid, cwd, git_branch, git_head, heartbeat_interval_seconds,
metadata, legal_hold, process_seen_at

-- name: register_session
-- A new session with its first event.
WITH session AS (
    INSERT INTO supervisor_sessions (
        instance_id, project, instance_type, context_percent, current_epic, parent_instance_id, relation,
        harness, harness_session_id, host, pid, cwd, git_branch, git_head, heartbeat_interval_seconds,
        metadata, last_sequence_num, created_at, last_heartbeat
    ) VALUES (
        %(instance_id)s, %(project)s, %(instance_type)s, %(context_percent)s, %(current_epic)s,
        %(parent_instance_id)s, %(relation)s, %(harness)s, %(harness_session_id)s, %(host)s, %(pid)s, %(cwd)s,
        %(git_branch)s, %(git_head)s, %(heartbeat_interval_seconds)s, %(metadata)s::jsonb, 1,
        coalesce(%(started_at)s::timestamptz, now()), coalesce(%(started_at)s::timestamptz, now())
    )
    RETURNING {session_columns}
), registered AS (
    INSERT INTO event_store (
        event_id, instance_id, event_type, sequence_num, event_data, timestamp, created_at, owner_epoch
    )
    SELECT %(event_id)s::uuid, instance_id, 'instance_registered', 1, %(event_data)s::jsonb, created_at, created_at,
        owner_epoch
    FROM session
)
SELECT {session_columns} FROM session;

-- name: get_session
-- One session by its id.
SELECT {session_columns} FROM supervisor_sessions WHERE instance_id = %(instance_id)s;

-- name: send_heartbeat
-- Moves one heartbeat; nothing for a closed or fenced session.
UPDATE supervisor_sessions SET
    last_heartbeat = now(),
    status = 'active',
    context_percent = coalesce(%(context_percent)s::integer, context_percent),
    current_epic = coalesce(%(current_epic)s::text, current_epic)
WHERE instance_id = %(instance_id)s AND superseded_by IS NULL AND status <> 'closed'
RETURNING {session_columns};

-- name: send_heartbeats
-- Moves many heartbeats in one statement, by nested loop (an array can't be hashed) in the order of the ids, so that
-- two such statements lock rows in one order: to lock them first logs each row once more, a third of the whole.
-- In a new registry that no ANALYZE has seen yet two may still meet in a deadlock; the client then tries again.
-- That the process was seen is kept to five minutes: the column lies far from the heartbeat, and a change logs all between.
UPDATE supervisor_sessions s SET
    last_heartbeat = now(),
    status = 'active',
    context_percent = coalesce(beat.context_percent::integer, s.context_percent),
    process_seen_at = CASE
        WHEN %(process_seen)s AND (s.process_seen_at IS NULL OR abs(extract(epoch FROM now() - s.process_seen_at)) > 300)
        THEN now() ELSE s.process_seen_at END
FROM (
    SELECT b.instance_id, b.context_percent
    FROM unnest(%(instance_ids)b::text[], %(context_percents)b::text[]) AS b (instance_id, context_percent)
    ORDER BY b.instance_id
) beat
WHERE s.instance_id = ANY (ARRAY[beat.instance_id]) AND s.superseded_by IS NULL AND s.status <> 'closed'
RETURNING s.instance_id;

-- name: close_session
-- Ends a session with its last event; a session that is closed already is returned as it is.
WITH closed AS (
    UPDATE supervisor_sessions SET
        status = 'closed', closed_at = now(), last_sequence_num = last_sequence_num + 1
    WHERE instance_id = %(instance_id)s AND superseded_by IS NULL AND status <> 'closed'
    RETURNING {session_columns}
), appended AS (
    INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)
    SELECT %(event_id)s::uuid, instance_id, 'instance_closed', last_sequence_num, %(event_data)s::jsonb, owner_epoch
    FROM closed
)
SELECT {session_columns} FROM closed;

-- name: settle_imported
-- How an imported session was left.
UPDATE supervisor_sessions SET
    status = %(status)s::text,
    last_heartbeat = coalesce(%(last_seen)s::timestamptz, last_heartbeat),
    closed_at = CASE %(status)s::text WHEN 'closed' THEN coalesce(%(last_seen)s::timestamptz, now()) END,
    context_percent = coalesce(%(context_percent)s::integer, context_percent)
WHERE instance_id = %(instance_id)s AND superseded_by IS NULL
    AND last_heartbeat <= coalesce(%(last_seen)s::timestamptz, last_heartbeat)
RETURNING {session_columns};

-- name: record_context_percent
-- How full the context window was last seen, also of a closed session.
UPDATE supervisor_sessions SET context_percent = coalesce(%(context_percent)s::integer, context_percent)
WHERE instance_id = %(instance_id)s AND superseded_by IS NULL
RETURNING {session_columns};

-- name: find_sessions
-- Sessions by latest heartbeat.
SELECT {session_columns} FROM supervisor_sessions
WHERE (%(project)s::text IS NULL OR project = %(project)s)
    AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
    AND (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(instance_type)s::text IS NULL OR instance_type = %(instance_type)s)
    AND (%(thread_id)s::uuid IS NULL OR thread_id = %(thread_id)s)
    AND (%(harness_session_id)s::text IS NULL OR harness_session_id = %(harness_session_id)s)
    AND (%(silent_for)s::interval IS NULL OR last_heartbeat < now() - %(silent_for)s::interval)
    AND (last_heartbeat, instance_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s)
    AND heartbeat_bucket <= coalesce(
        date_bin('10 minutes', %(before)s::timestamptz, '2000-01-01 00:00:00+00'), 'infinity')
ORDER BY heartbeat_bucket DESC, last_heartbeat DESC, instance_id DESC
LIMIT %(limit)s;

-- name: find_silent_sessions
-- Active sessions without a heartbeat for too long; the bucket condition lets the index find just those.
SELECT {session_columns} FROM supervisor_sessions
WHERE status = 'active'
    AND last_heartbeat < now() - %(silent_for)s::interval
    AND heartbeat_bucket <= date_bin('10 minutes', now() - %(silent_for)s::interval, '2000-01-01 00:00:00+00')
    AND (%(project)s::text IS NULL OR project = %(project)s)
    AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
    AND (%(instance_type)s::text IS NULL OR instance_type = %(instance_type)s)
    AND (%(thread_id)s::uuid IS NULL OR thread_id = %(thread_id)s)
    AND (%(harness_session_id)s::text IS NULL OR harness_session_id = %(harness_session_id)s)
    AND (last_heartbeat, instance_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s)
    AND heartbeat_bucket <= coalesce(
        date_bin('10 minutes', %(before)s::timestamptz, '2000-01-01 00:00:00+00'), 'infinity')
ORDER BY heartbeat_bucket DESC, last_heartbeat DESC, instance_id DESC
LIMIT %(limit)s;
