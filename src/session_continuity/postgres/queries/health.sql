-- name: get_system_health
-- The figures of the fleet and the size of its tables; counts are bounded, and those of active ones follow the index.
SELECT now() AS checked_at, current_setting('server_version') AS server_version,
    (SELECT count(*) FROM (
        SELECT 1 FROM supervisor_sessions
        WHERE status = 'active' AND (%(project)s::text IS NULL OR project = %(project)s)
            AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
        LIMIT %(counted)s) counted) AS active,
    (SELECT count(*) FROM (
        SELECT 1 FROM supervisor_sessions
        WHERE status = 'stale' AND (%(project)s::text IS NULL OR project = %(project)s)
            AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
        LIMIT %(counted)s) counted) AS stale,
    (SELECT count(*) FROM (
        SELECT 1 FROM supervisor_sessions
        WHERE status = 'active' AND last_heartbeat < now() - %(silent_for)s::interval
            AND heartbeat_bucket <= date_bin('10 minutes', now() - %(silent_for)s::interval, '2000-01-01 00:00:00+00')
            AND (%(project)s::text IS NULL OR project = %(project)s)
            AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
        LIMIT %(counted)s) counted) AS silent,
    (SELECT count(*) FROM (
        SELECT 1 FROM command_log c
        WHERE c.outcome IS NULL AND c.success IS NULL
            AND (%(project)s::text IS NULL OR EXISTS (
                SELECT 1 FROM supervisor_sessions s
                WHERE s.instance_id = c.instance_id AND s.project = %(project)s))
            AND (%(projects)s::text[] IS NULL OR EXISTS (
                SELECT 1 FROM supervisor_sessions s
                WHERE s.instance_id = c.instance_id AND s.project = ANY(%(projects)s)))
        LIMIT %(counted)s) counted) AS in_flight,
    (SELECT count(*) FROM (
        SELECT 1 FROM command_log c
        WHERE c.success = false AND c.created_at >= now() - interval '1 hour'
            AND (%(project)s::text IS NULL OR EXISTS (
                SELECT 1 FROM supervisor_sessions s
                WHERE s.instance_id = c.instance_id AND s.project = %(project)s))
            AND (%(projects)s::text[] IS NULL OR EXISTS (
                SELECT 1 FROM supervisor_sessions s
                WHERE s.instance_id = c.instance_id AND s.project = ANY(%(projects)s)))
        LIMIT %(counted)s) counted) AS failed_last_hour,
    (SELECT coalesce(jsonb_object_agg(c.relname, pg_total_relation_size(c.oid)), '{}') FROM pg_class c
        WHERE %(projects)s::text[] IS NULL AND c.oid = ANY (ARRAY[
            'supervisor_sessions'::regclass, 'command_log'::regclass, 'event_store'::regclass,
            'checkpoints'::regclass])) AS table_bytes;
