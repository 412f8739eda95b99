-- fragment: in_projects
(%(project)s::text IS NULL OR project = %(project)s)
            AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))

-- fragment: session_in_projects
(%(project)s::text IS NULL AND %(projects)s::text[] IS NULL OR EXISTS (
                SELECT FROM supervisor_sessions s WHERE s.instance_id = c.instance_id
                    AND (%(project)s::text IS NULL OR s.project = %(project)s)
                    AND (%(projects)s::text[] IS NULL OR s.project = ANY(%(projects)s))))

-- name: get_system_health
-- The figures of the fleet and the size of its tables; each count is bounded and follows an index.
SELECT now() AS checked_at, current_setting('server_version') AS server_version,
    (SELECT count(*) FROM (
        SELECT 1 FROM supervisor_sessions
        WHERE status = 'active' AND {in_projects}
        LIMIT %(counted)s) counted) AS active,
    (SELECT count(*) FROM (
        SELECT 1 FROM supervisor_sessions
        WHERE status = 'stale' AND {in_projects}
        LIMIT %(counted)s) counted) AS stale,
    (SELECT count(*) FROM (
        SELECT 1 FROM supervisor_sessions
        WHERE status = 'closed' AND {in_projects}
        LIMIT %(counted)s) counted) AS closed,
    (SELECT count(*) FROM (
        SELECT 1 FROM supervisor_sessions
        WHERE status = 'active' AND last_heartbeat < now() - %(silent_for)s::interval
            AND heartbeat_bucket <= date_bin('10 minutes', now() - %(silent_for)s::interval, '2000-01-01 00:00:00+00')
            AND {in_projects}
        LIMIT %(counted)s) counted) AS silent,
    (SELECT count(*) FROM (
        SELECT 1 FROM command_log c
        WHERE c.outcome IS NULL AND c.success IS NULL AND {session_in_projects}
        LIMIT %(counted)s) counted) AS in_flight,
    (SELECT count(*) FROM (
        SELECT 1 FROM command_log c
        WHERE c.success = false AND c.created_at >= now() - interval '1 hour'
            AND {session_in_projects}
        LIMIT %(counted)s) counted) AS failed_last_hour,
    (SELECT count(*) FROM (
        SELECT 1 FROM command_log c
        WHERE c.execution_time_ms > 5000 AND c.created_at >= now() - interval '1 hour'
            AND {session_in_projects}
        LIMIT %(counted)s) counted) AS slow_last_hour,
    (SELECT count(*) FROM (
        SELECT 1 FROM alerts WHERE resolved_at IS NULL AND {in_projects}
        LIMIT %(counted)s) counted) AS alerts,
    (SELECT coalesce(jsonb_object_agg(c.relname, pg_total_relation_size(c.oid)), '{}') FROM pg_class c
        WHERE %(projects)s::text[] IS NULL AND c.oid = ANY (ARRAY[
            'supervisor_sessions'::regclass, 'command_log'::regclass, 'event_store'::regclass,
            'checkpoints'::regclass])) AS table_bytes;

-- name: count_events_by_minute
-- Events in each of the last minutes, the oldest first; of a busier minute than `counted` only so many.
SELECT minute, (
    SELECT count(*) FROM (
        SELECT 1 FROM event_store e WHERE e.timestamp >= minute AND e.timestamp < minute + interval '1 minute'
            AND (%(projects)s::text[] IS NULL OR EXISTS (
                SELECT FROM supervisor_sessions s
                WHERE s.instance_id = e.instance_id AND s.project = ANY(%(projects)s)))
        LIMIT %(counted)s) counted) AS events
FROM generate_series(
    date_trunc('minute', now()) - (%(minutes)s::integer - 1) * interval '1 minute',
    date_trunc('minute', now()), interval '1 minute') minute
ORDER BY minute;

-- name: get_fleet_metrics
-- What is counted by name, and the ages and sums, for whoever scrapes; each is bounded or follows its index.
SELECT
    (SELECT coalesce(jsonb_object_agg(project, sessions), '{}') FROM (
        SELECT project, count(*) AS sessions FROM supervisor_sessions WHERE status = 'active'
        GROUP BY project ORDER BY count(*) DESC, project LIMIT %(named)s) busiest) AS active_by_project,
    (SELECT count(*) FROM supervisor_sessions WHERE status = 'active') AS active,
    (SELECT coalesce(jsonb_object_agg(rule, alerts), '{}') FROM (
        SELECT rule, count(*) AS alerts FROM alerts WHERE resolved_at IS NULL
        GROUP BY rule) open) AS alerts_by_rule,
    (SELECT coalesce(extract(epoch FROM now() - last_heartbeat), 0)::float8 FROM supervisor_sessions
        WHERE status = 'active' ORDER BY heartbeat_bucket, last_heartbeat LIMIT 1) AS oldest_heartbeat_seconds,
    (SELECT coalesce(sum(s.last_sequence_num - coalesce(k.sequence_num, 0)), 0)::bigint FROM (
        SELECT instance_id, last_sequence_num FROM supervisor_sessions WHERE status = 'active'
        ORDER BY heartbeat_bucket DESC LIMIT %(counted)s) s
        LEFT JOIN LATERAL (
            SELECT sequence_num FROM checkpoints
            WHERE instance_id = s.instance_id ORDER BY sequence_num DESC LIMIT 1) k ON true) AS unsaved_events;
