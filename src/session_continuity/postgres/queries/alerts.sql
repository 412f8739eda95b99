-- fragment: settle_alerts
, raised AS (
    INSERT INTO alerts (rule, subject, project, severity, details)
    SELECT %(rule)s::text, f.subject, f.project, %(severity)s::text, f.details FROM found f
    WHERE f.subject NOT IN (SELECT subject FROM alerts WHERE rule = %(rule)s AND resolved_at IS NULL)
    ORDER BY f.subject
    LIMIT greatest(0, %(most)s::integer - (
        SELECT count(*) FROM alerts a WHERE a.rule = %(rule)s AND a.resolved_at IS NULL))
    ON CONFLICT (rule, subject) WHERE resolved_at IS NULL DO NOTHING
    RETURNING subject
), resolved AS (
    UPDATE alerts a SET resolved_at = now()
    WHERE a.rule = %(rule)s AND a.resolved_at IS NULL
        AND a.subject NOT IN (SELECT subject FROM found)
    RETURNING subject
)
SELECT 'raised', subject FROM raised UNION ALL SELECT 'resolved', subject FROM resolved

-- name: evaluate_stale_session
-- Sessions that fell silent within the last day, until they return, end or are resumed, however long that takes: those
-- that are told already, and as many more as may be told. The whole fleet can fall silent at once.
WITH found AS (
    SELECT instance_id AS subject, project, jsonb_build_object(
        'last_heartbeat', last_heartbeat, 'current_epic', current_epic, 'host', host) AS details
    FROM supervisor_sessions
    WHERE status = 'stale' AND superseded_by IS NULL AND instance_id IN (
        (SELECT instance_id FROM supervisor_sessions
        WHERE status = 'stale' AND superseded_by IS NULL AND last_heartbeat > now() - interval '1 day'
            AND heartbeat_bucket > now() - interval '1 day 10 minutes'
            AND instance_id NOT IN (SELECT subject FROM alerts WHERE rule = %(rule)s AND resolved_at IS NULL)
        ORDER BY heartbeat_bucket DESC LIMIT %(most)s)
        UNION ALL
        SELECT subject FROM alerts WHERE rule = %(rule)s AND resolved_at IS NULL)
) {settle_alerts};

-- name: evaluate_slow_command
-- Sessions whose commands of the last minutes took longer than the report's limit.
WITH found AS (
    SELECT c.instance_id AS subject, min(s.project) AS project, jsonb_build_object(
        'commands', count(*), 'slowest_ms', max(c.execution_time_ms)) AS details
    FROM command_log c JOIN supervisor_sessions s ON s.instance_id = c.instance_id
    WHERE c.execution_time_ms > 5000 AND c.execution_time_ms > %(slow_command_seconds)s::float8 * 1000
        AND c.created_at > now() - interval '15 minutes'
    GROUP BY c.instance_id
) {settle_alerts};

-- name: evaluate_slower_tool
-- Tools whose median of the last hour is a multiple of that of the day before, over the latest sessions.
WITH recent AS (
    SELECT instance_id FROM supervisor_sessions
    WHERE last_heartbeat > now() - interval '1 day' AND heartbeat_bucket > now() - interval '1 day 10 minutes'
    ORDER BY heartbeat_bucket DESC LIMIT 200
), timed AS (
    SELECT c.tool_name, c.execution_time_ms, c.created_at > now() - interval '1 hour' AS is_new
    FROM recent r CROSS JOIN LATERAL (
        SELECT tool_name, execution_time_ms, created_at FROM command_log
        WHERE instance_id = r.instance_id AND created_at > now() - interval '1 day'
        ORDER BY created_at DESC LIMIT 1000) c
    WHERE c.tool_name IS NOT NULL AND c.execution_time_ms IS NOT NULL
), medians AS (
    SELECT tool_name, count(*) FILTER (WHERE is_new) AS new_count, count(*) FILTER (WHERE NOT is_new) AS old_count,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY execution_time_ms) FILTER (WHERE is_new) AS new_ms,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY execution_time_ms) FILTER (WHERE NOT is_new) AS old_ms
    FROM timed GROUP BY tool_name
), found AS (
    SELECT tool_name AS subject, NULL::text AS project, jsonb_build_object(
        'median_ms', round(new_ms::numeric), 'before_ms', round(old_ms::numeric), 'commands', new_count) AS details
    FROM medians
    WHERE new_count >= %(slower_tool_commands)s::integer AND old_count >= %(slower_tool_commands)s
        AND new_ms > 100 AND new_ms > old_ms * %(slower_tool_factor)s::float8
) {settle_alerts};

-- name: evaluate_table_growth
-- Tables that grow faster than planned, by samples at least six hours apart: in less, a busy quarter of an hour would
-- pass for a busy day.
WITH growth AS (
    SELECT n.relation, n.bytes,
        (n.bytes - o.bytes) / (extract(epoch FROM n.sampled_at - o.sampled_at) / 86400) AS bytes_per_day
    FROM (SELECT DISTINCT ON (relation) relation, hour, sampled_at, bytes FROM storage_samples
        WHERE hour > now() - interval '3 hours' AND sampled_at <= now() ORDER BY relation, hour DESC) n
    CROSS JOIN LATERAL (
        SELECT sampled_at, bytes FROM storage_samples s
        WHERE s.relation = n.relation AND s.hour > n.hour - interval '25 hours'
            AND s.sampled_at <= n.sampled_at - interval '6 hours'
        ORDER BY s.hour LIMIT 1) o
), found AS (
    SELECT relation AS subject, NULL::text AS project, jsonb_build_object(
        'bytes', bytes, 'bytes_per_day', round(bytes_per_day::numeric)) AS details
    FROM growth WHERE bytes_per_day > %(table_growth_mb_per_day)s::float8 * 1000000
) {settle_alerts};

-- name: evaluate_index_health
-- Indexes of the product that are invalid, or grew to a multiple of their table.
WITH found AS (
    SELECT i.relname::text AS subject, NULL::text AS project, jsonb_build_object(
        'table', t.relname, 'valid', x.indisvalid, 'bytes', pg_relation_size(i.oid),
        'table_bytes', pg_relation_size(t.oid)) AS details
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_class t ON t.oid = x.indrelid
    WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r'
        AND (NOT x.indisvalid OR pg_relation_size(i.oid) > greatest(
            %(index_least_mb)s::float8 * 1000000, pg_relation_size(t.oid) * %(index_table_factor)s::float8))
) {settle_alerts};

-- name: evaluate_slow_query
-- Queries on this database that run for too long now; their text stays out.
WITH found AS (
    SELECT 'process ' || pid AS subject, NULL::text AS project, jsonb_build_object(
        'seconds', round(extract(epoch FROM now() - query_start)), 'application', application_name,
        'waits_for', wait_event_type) AS details
    FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'
        AND clock_timestamp() - query_start > %(slow_query_seconds)s::float8 * interval '1 second'
) {settle_alerts};

-- name: evaluate_unsaved_context
-- Active sessions whose context is nearly full while no checkpoint covers their last events.
WITH found AS (
    SELECT s.instance_id AS subject, s.project, jsonb_build_object(
        'context_percent', s.context_percent,
        'unsaved_events', s.last_sequence_num - coalesce(k.sequence_num, 0)) AS details
    FROM supervisor_sessions s
    LEFT JOIN LATERAL (
        SELECT sequence_num FROM checkpoints
        WHERE instance_id = s.instance_id ORDER BY sequence_num DESC LIMIT 1) k ON true
    WHERE s.status = 'active' AND s.superseded_by IS NULL AND s.context_percent > %(unsaved_context_percent)s::integer
        AND s.last_sequence_num - coalesce(k.sequence_num, 0) >= %(unsaved_context_events)s::integer
) {settle_alerts};

-- name: evaluate_second_owner
-- Sessions that were taken over and whose copy recorded commands since, within the last minutes.
WITH found AS (
    SELECT c.instance_id AS subject, min(s.project) AS project, jsonb_build_object(
        'late_commands', count(*), 'taken_over_by', min(s.superseded_by)) AS details
    FROM command_log c JOIN supervisor_sessions s ON s.instance_id = c.instance_id
    WHERE c.late AND c.created_at > now() - interval '15 minutes'
    GROUP BY c.instance_id
) {settle_alerts};

-- name: evaluate_failing_tests
-- Sessions whose last tests failed one after the other, within the last hour.
WITH failed AS (
    SELECT instance_id, sequence_num, timestamp,
        row_number() OVER (PARTITION BY instance_id ORDER BY sequence_num DESC) AS place
    FROM event_store WHERE event_type = 'test_failed' AND timestamp > now() - interval '1 hour'
), found AS (
    SELECT f.instance_id AS subject, s.project, jsonb_build_object(
        'failures', %(failing_tests)s::integer, 'since_event', f.sequence_num) AS details
    FROM failed f JOIN supervisor_sessions s ON s.instance_id = f.instance_id
    WHERE f.place = %(failing_tests)s AND s.status = 'active'
        AND NOT EXISTS (
            SELECT FROM event_store p WHERE p.event_type = 'test_passed' AND p.timestamp >= f.timestamp
                AND p.instance_id = f.instance_id AND p.sequence_num > f.sequence_num)
) {settle_alerts};

-- name: evaluate_sweep_held
-- The stale sweep holds sessions back: more than half fell silent at once, as after a jump of the clock. Passes that
-- end in the future were written before the clock was set back.
WITH found AS (
    SELECT 'stale_sweep' AS subject, NULL::text AS project, jsonb_build_object('held', p.report -> 'held') AS details
    FROM (SELECT report FROM service_passes
        WHERE service = 'stale_sweep' AND finished_at > now() - interval '5 minutes' AND finished_at <= now()
        ORDER BY finished_at DESC LIMIT 1) p
    WHERE (p.report ->> 'held')::integer > 0
) {settle_alerts};

-- name: evaluate_failing_service
-- Services whose last pass failed: anywhere, of one that is run for the whole fleet and so has a lease; on that host,
-- of one that every host runs.
WITH passes AS (
    SELECT p.service, split_part(p.holder, ':', 1) AS host, p.error, p.finished_at, l.name IS NOT NULL AS fleet_wide
    FROM service_passes p LEFT JOIN service_leases l ON l.name = p.service
    WHERE p.finished_at > now() - interval '1 day' AND p.finished_at <= now()
), latest AS (
    SELECT DISTINCT ON (service, CASE WHEN NOT fleet_wide THEN host END) service, host, error, fleet_wide FROM passes
    ORDER BY service, CASE WHEN NOT fleet_wide THEN host END, finished_at DESC
), found AS (
    SELECT CASE WHEN fleet_wide THEN service ELSE service || ' on ' || host END AS subject, NULL::text AS project,
        jsonb_build_object('service', service, 'host', host, 'error', error) AS details
    FROM latest WHERE error IS NOT NULL
) {settle_alerts};

-- name: evaluate_archive_problems
-- The last pass of the archive that ended found archives damaged or missing, or checkpoints that it does not trust.
WITH found AS (
    SELECT 'archive' AS subject, NULL::text AS project, jsonb_build_object(
        'problems', p.report -> 'problems', 'host', split_part(p.holder, ':', 1)) AS details
    FROM (SELECT report, holder FROM service_passes
        WHERE service = 'archive' AND error IS NULL
            AND finished_at > now() - interval '1 day' AND finished_at <= now()
        ORDER BY finished_at DESC LIMIT 1) p
    WHERE (p.report ->> 'problems')::integer > 0
) {settle_alerts};

-- name: evaluate_archive_overdue
-- The archive has a policy, but no pass of it ended well for too long. Who has only just begun to serve is given ten
-- minutes: after a weekend its first pass is on its way.
WITH passed AS (
    SELECT max(finished_at) AS last_pass FROM service_passes
    WHERE service = 'archive' AND error IS NULL AND finished_at <= now()
), found AS (
    SELECT 'archive' AS subject, NULL::text AS project, jsonb_build_object('last_pass', last_pass) AS details
    FROM passed
    WHERE %(archive_is_set)s::boolean
        AND (last_pass > now() - %(archive_overdue_hours)s::float8 * interval '1 hour') IS NOT TRUE
        AND EXISTS (
            SELECT FROM supervisor_sessions WHERE created_at < now() - %(archive_overdue_hours)s * interval '1 hour')
        AND NOT EXISTS (
            SELECT FROM service_leases WHERE name = 'archive' AND expires_at > now()
                AND acquired_at > now() - interval '10 minutes')
) {settle_alerts};

-- name: settle_machine_alerts
-- What a machine found about itself; `subjects` is that machine, or nothing. What others found lasts until they say
-- that it is over, or are gone: without a pass for a day.
WITH found AS (
    SELECT subject, NULL::text AS project, details::jsonb AS details
    FROM unnest(%(subjects)s::text[], %(details)s::text[]) AS f (subject, details)
    UNION ALL
    SELECT a.subject, a.project, a.details FROM alerts a
    WHERE a.rule = %(rule)s::text AND a.resolved_at IS NULL AND a.subject <> %(host)s::text
        AND (a.raised_at > now() - interval '1 day' OR EXISTS (
            SELECT FROM service_passes p
            WHERE p.service = 'machine_alerts' AND split_part(p.holder, ':', 1) = a.subject
                AND p.finished_at > now() - interval '1 day' AND p.finished_at <= now()))
) {settle_alerts};

-- name: list_alerts
-- Alerts by when they were raised, the latest first.
SELECT alert_id, rule, subject, project, severity, details, raised_at, resolved_at, acknowledged_at, acknowledged_by
FROM alerts
WHERE (%(is_open)s::boolean IS NULL OR (resolved_at IS NULL) = %(is_open)s)
    AND (%(rule)s::text IS NULL OR rule = %(rule)s)
    AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
    AND (raised_at, alert_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s::uuid)
ORDER BY raised_at DESC, alert_id DESC LIMIT %(limit)s;

-- name: acknowledge_alert
-- A person has seen it; the first one counts.
UPDATE alerts SET acknowledged_at = coalesce(acknowledged_at, now()),
    acknowledged_by = coalesce(acknowledged_by, %(person)s::text)
WHERE alert_id = %(alert_id)s::uuid AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
RETURNING alert_id, rule, subject, project, severity, details, raised_at, resolved_at, acknowledged_at,
    acknowledged_by;

-- name: drop_old_alerts
-- Alerts that were resolved long ago make room.
DELETE FROM alerts WHERE alert_id IN (
    SELECT alert_id FROM alerts WHERE resolved_at < now() - interval '90 days' ORDER BY raised_at LIMIT 1000)
RETURNING alert_id;

-- name: enter_deliveries
-- What a channel has not been told: alerts that are open or were for a moment, and the end of those that it was told of.
INSERT INTO alert_deliveries (alert_id, channel, news)
SELECT a.alert_id, %(channel)s::text, 'raised' FROM alerts a
WHERE a.resolved_at IS NULL
    AND NOT EXISTS (SELECT FROM alert_deliveries d WHERE d.alert_id = a.alert_id AND d.channel = %(channel)s)
UNION
SELECT a.alert_id, %(channel)s, 'raised' FROM alerts a
WHERE a.raised_at > now() - interval '10 minutes'
    AND NOT EXISTS (SELECT FROM alert_deliveries d WHERE d.alert_id = a.alert_id AND d.channel = %(channel)s)
UNION
SELECT a.alert_id, %(channel)s, 'resolved' FROM alerts a
WHERE a.resolved_at > now() - interval '1 day'
    AND EXISTS (SELECT FROM alert_deliveries d
        WHERE d.alert_id = a.alert_id AND d.channel = %(channel)s AND d.news = 'raised' AND d.delivered_at IS NOT NULL)
    AND NOT EXISTS (SELECT FROM alert_deliveries d
        WHERE d.alert_id = a.alert_id AND d.channel = %(channel)s AND d.news = 'resolved')
ON CONFLICT (alert_id, channel, news) DO NOTHING
RETURNING alert_id;

-- name: claim_delivery
-- The delivery that is due first, for whoever asks first; another one may try again when the claim has run out.
UPDATE alert_deliveries d SET attempts = d.attempts + 1,
    next_attempt_at = now() + least(3600, 30 * power(2, least(d.attempts, 10))) * interval '1 second'
FROM (
    SELECT alert_id, news FROM alert_deliveries
    WHERE channel = %(channel)s::text AND delivered_at IS NULL AND next_attempt_at <= now()
        AND attempts < %(most_attempts)s::integer
    ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED
) due
JOIN alerts a ON a.alert_id = due.alert_id
WHERE d.alert_id = due.alert_id AND d.channel = %(channel)s AND d.news = due.news
RETURNING d.news, d.attempts, a.alert_id, a.rule, a.subject, a.project, a.severity, a.details, a.raised_at,
    a.resolved_at, a.acknowledged_at, a.acknowledged_by;

-- name: settle_delivery
-- How an attempt ended.
UPDATE alert_deliveries SET
    delivered_at = CASE WHEN %(error)s::text IS NULL THEN now() END, error = %(error)s
WHERE alert_id = %(alert_id)s::uuid AND channel = %(channel)s::text AND news = %(news)s::text AND delivered_at IS NULL
RETURNING delivered_at;
