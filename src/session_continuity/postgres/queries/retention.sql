-- fragment: archivable
FROM supervisor_sessions s
CROSS JOIN LATERAL (
    SELECT max(k.sequence_num) AS base FROM checkpoints k
    WHERE k.instance_id = s.instance_id AND k.state_hash IS NOT NULL AND k.schema_version = %(schema_version)s::integer
        AND s.instance_id <> ALL (%(distrusted)s::text[])
) recovery
CROSS JOIN LATERAL (
    SELECT coalesce(
        s.status = 'closed' AND coalesce(s.closed_at, s.last_heartbeat) < now() - %(sessions_after)s::interval
            AND (%(keep_sessions)s::bigint = 0 OR s.last_heartbeat < (
                SELECT t.last_heartbeat FROM supervisor_sessions t WHERE t.project = %(project)s
                ORDER BY t.heartbeat_bucket DESC, t.last_heartbeat DESC
                OFFSET greatest(%(keep_sessions)s::bigint, 1) - 1 LIMIT 1)),
        false) AS whole
) session
CROSS JOIN LATERAL (
    SELECT min(e.sequence_num) AS first, max(e.sequence_num) AS last, count(*) AS rows FROM event_store e
    WHERE e.instance_id = s.instance_id AND e.sequence_num <= CASE
        WHEN recovery.base IS NULL THEN 0
        WHEN NOT session.whole AND %(events_after)s::interval IS NULL THEN 0
        ELSE least(recovery.base, s.last_sequence_num - %(keep_events)s::bigint, (
            SELECT min(y.sequence_num) - 1 FROM event_store y
            WHERE y.instance_id = s.instance_id AND y.created_at >= now() - %(events_after)s::interval))
    END
) events
CROSS JOIN LATERAL (
    SELECT array_agg(old.id) AS ids FROM (
        SELECT c.id FROM command_log c
        WHERE c.instance_id = s.instance_id
            AND (c.outcome IN ('success', 'failure', 'cancelled') OR (c.outcome IS NULL AND c.success IS NOT NULL))
            AND (session.whole OR %(commands_after)s::interval IS NOT NULL)
            AND (%(commands_after)s::interval IS NULL OR c.created_at < now() - %(commands_after)s::interval)
            AND (%(keep_commands)s::bigint = 0 OR c.created_at < (
                SELECT k.created_at FROM command_log k WHERE k.instance_id = s.instance_id
                ORDER BY k.created_at DESC OFFSET greatest(%(keep_commands)s::bigint, 1) - 1 LIMIT 1))
            AND c.id <> ALL (ARRAY(
                SELECT b.id FROM command_log b WHERE b.instance_id = s.instance_id AND NOT b.late
                ORDER BY b.created_at DESC, b.id DESC LIMIT %(brief_commands)s::bigint))
            AND c.id <> ALL (ARRAY(
                SELECT b.id FROM command_log b WHERE b.instance_id = s.instance_id AND b.success = false AND NOT b.late
                ORDER BY b.created_at DESC, b.id DESC LIMIT %(brief_commands)s::bigint))
        ORDER BY c.id LIMIT %(most)s::bigint) old
) commands
CROSS JOIN LATERAL (
    SELECT array_agg(old.checkpoint_id) AS ids FROM (
        SELECT k.checkpoint_id FROM checkpoints k
        WHERE k.instance_id = s.instance_id AND k.sequence_num < recovery.base
            AND (session.whole OR %(checkpoints_after)s::interval IS NOT NULL)
            AND (%(checkpoints_after)s::interval IS NULL OR k.created_at < now() - %(checkpoints_after)s::interval)
            AND (%(keep_checkpoints)s::bigint = 0 OR k.created_at < (
                SELECT n.created_at FROM checkpoints n WHERE n.instance_id = s.instance_id
                ORDER BY n.created_at DESC OFFSET greatest(%(keep_checkpoints)s::bigint, 1) - 1 LIMIT 1))
        ORDER BY k.checkpoint_id LIMIT %(most)s::bigint) old
) checkpoints
WHERE s.project = %(project)s AND NOT s.legal_hold AND NOT s.metadata ? 'forgotten'
    AND NOT EXISTS (
        SELECT FROM archived_sessions a
        WHERE a.instance_id = s.instance_id AND a.restored_at > now() - %(shortest)s::interval)
    AND (events.rows > 0 OR commands.ids IS NOT NULL OR checkpoints.ids IS NOT NULL)

-- name: list_retained_projects
-- Every project that has a session or an archive.
SELECT project FROM supervisor_sessions UNION SELECT project FROM archives ORDER BY 1;

-- name: plan_retention
-- How much of a project goes to the archive now. What recovery rests on (the latest checkpoint that can be folded on
-- and all events after it) and the commands of a brief are never among it.
SELECT count(*), coalesce(sum(events.rows), 0)::bigint, coalesce(sum(cardinality(commands.ids)), 0)::bigint,
    coalesce(sum(cardinality(checkpoints.ids)), 0)::bigint
{archivable};

-- name: find_archivable
-- The rows of some sessions of a project that go to the archive now: events by their numbers, the others by their ids.
SELECT s.instance_id, events.first, events.last, events.rows, commands.ids, checkpoints.ids
{archivable}
ORDER BY s.instance_id
LIMIT %(sessions)s::bigint;

-- name: count_held
-- What keeps closed sessions of a project from the archive: a legal hold, or no checkpoint that recovery could rest on.
SELECT count(*) FILTER (WHERE s.legal_hold), count(*) FILTER (WHERE NOT s.legal_hold AND NOT EXISTS (
    SELECT FROM checkpoints k WHERE k.instance_id = s.instance_id AND k.state_hash IS NOT NULL
        AND k.schema_version = %(schema_version)s::integer))
FROM supervisor_sessions s
WHERE s.project = %(project)s AND s.status = 'closed' AND NOT s.metadata ? 'forgotten'
    AND coalesce(s.closed_at, s.last_heartbeat) < now() - %(shortest)s::interval;

-- name: find_expired_archives
-- Archives of a project past their age. One that holds a session under legal hold stays.
SELECT a.archive_id, a.host, a.folder, a.events, a.commands, a.checkpoints, a.bytes FROM archives a
WHERE a.project = %(project)s AND a.state = 'finished' AND a.created_at < now() - %(delete_after)s::interval
    AND NOT EXISTS (
        SELECT FROM archived_sessions x JOIN supervisor_sessions s USING (instance_id)
        WHERE x.archive_id = a.archive_id AND s.legal_hold)
ORDER BY a.created_at, a.archive_id;
