-- name: get_fleet_metrics
-- The figures of the fleet for whoever scrapes; each is bounded or follows its index.
SELECT now() AS at,
    (SELECT count(*) FROM supervisor_sessions WHERE status = 'active') AS active,
    (SELECT count(*) FROM supervisor_sessions WHERE status = 'stale') AS stale,
    (SELECT count(*) FROM (SELECT 1 FROM supervisor_sessions WHERE status = 'closed' LIMIT %(counted)s) c) AS closed,
    (SELECT coalesce(jsonb_object_agg(project, sessions), '{}') FROM (
        SELECT project, count(*) AS sessions FROM supervisor_sessions WHERE status = 'active'
        GROUP BY project ORDER BY count(*) DESC, project LIMIT %(projects)s) busiest) AS active_by_project,
    (SELECT coalesce(extract(epoch FROM now() - last_heartbeat), 0)::float8 FROM supervisor_sessions
        WHERE status = 'active' ORDER BY heartbeat_bucket, last_heartbeat LIMIT 1) AS oldest_heartbeat_seconds,
    (SELECT coalesce(sum(s.last_sequence_num - coalesce(k.sequence_num, 0)), 0)::bigint FROM (
        SELECT instance_id, last_sequence_num FROM supervisor_sessions WHERE status = 'active'
        ORDER BY heartbeat_bucket DESC LIMIT %(counted)s) s
        LEFT JOIN LATERAL (
            SELECT sequence_num FROM checkpoints
            WHERE instance_id = s.instance_id ORDER BY sequence_num DESC LIMIT 1) k ON true) AS unsaved_events,
    (SELECT count(*) FROM (SELECT 1 FROM command_log
        WHERE outcome IS NULL AND success IS NULL LIMIT %(counted)s) c) AS in_flight,
    (SELECT count(*) FROM (SELECT 1 FROM command_log
        WHERE success = false AND created_at >= now() - interval '1 hour' LIMIT %(counted)s) c) AS failed_commands,
    (SELECT count(*) FROM (SELECT 1 FROM command_log
        WHERE execution_time_ms > 5000 AND created_at >= now() - interval '1 hour' LIMIT %(counted)s) c)
        AS slow_commands,
    (SELECT count(*) FROM (SELECT 1 FROM event_store
        WHERE timestamp >= date_trunc('minute', now()) - interval '1 minute'
            AND timestamp < date_trunc('minute', now()) LIMIT %(counted)s) c) AS events_last_minute,
    (SELECT coalesce(jsonb_object_agg(rule, alerts), '{}') FROM (
        SELECT rule, count(*) AS alerts FROM alerts WHERE resolved_at IS NULL GROUP BY rule) open) AS alerts;
