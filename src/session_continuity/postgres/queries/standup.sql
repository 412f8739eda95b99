-- name: find_sessions_since
-- The sessions of a project that lived since a time, the latest heartbeat first.
SELECT {session_columns} FROM supervisor_sessions
WHERE project = %(project)s AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
    AND last_heartbeat >= %(since)s::timestamptz
    AND heartbeat_bucket >= date_bin('10 minutes', %(since)s::timestamptz, '2000-01-01 00:00:00+00')
ORDER BY heartbeat_bucket DESC, last_heartbeat DESC, instance_id DESC
LIMIT %(limit)s;

-- name: find_results_since
-- The results of a project's sessions, latest first.
SELECT e.event_id, e.instance_id, e.event_type, e.sequence_num, e.event_data, e.metadata, e.timestamp, e.created_at,
    e.owner_epoch
FROM event_store e
WHERE e.event_type = ANY (%(event_types)s::text[])
    AND e.created_at >= %(since)s::timestamptz
    AND e.instance_id IN (
        SELECT s.instance_id FROM supervisor_sessions s
        WHERE s.project = %(project)s AND (%(projects)s::text[] IS NULL OR s.project = ANY(%(projects)s)))
ORDER BY e.created_at DESC, e.event_id DESC
LIMIT %(limit)s;
