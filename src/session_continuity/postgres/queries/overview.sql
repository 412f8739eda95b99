-- fragment: in_overview
(%(project)s::text IS NULL OR project = %(project)s)
            AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
            AND (%(instance_type)s::text IS NULL OR instance_type = %(instance_type)s)
            AND (last_heartbeat, instance_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s)
            AND heartbeat_bucket <= coalesce(
                date_bin('10 minutes', %(before)s::timestamptz, '2000-01-01 00:00:00+00'), 'infinity')
        ORDER BY heartbeat_bucket DESC, last_heartbeat DESC, instance_id DESC
        LIMIT %(among)s

-- fragment: has_text
(%(text)s::text IS NULL OR position(lower(%(text)s) IN lower(concat_ws(' ', instance_id, project, current_epic,
        harness, host, cwd, git_branch))) > 0)
    LIMIT %(limit)s

-- name: get_overview
-- The latest sessions of the asked states, each with what it does now. Each state has an index of its own; a text is
-- looked for among the latest `among` of each.
WITH latest AS (
    (SELECT {session_columns} FROM (
        SELECT {session_columns}, heartbeat_bucket FROM supervisor_sessions
        WHERE status = 'active' AND 'active' = ANY(%(statuses)s::text[]) AND {in_overview}
    ) active WHERE {has_text})
    UNION ALL
    (SELECT {session_columns} FROM (
        SELECT {session_columns}, heartbeat_bucket FROM supervisor_sessions
        WHERE status = 'stale' AND 'stale' = ANY(%(statuses)s::text[]) AND {in_overview}
    ) stale WHERE {has_text})
    UNION ALL
    (SELECT {session_columns} FROM (
        SELECT {session_columns}, heartbeat_bucket FROM supervisor_sessions
        WHERE status = 'closed' AND 'closed' = ANY(%(statuses)s::text[]) AND {in_overview}
    ) closed WHERE {has_text})
), s AS (
    SELECT {session_columns} FROM latest ORDER BY last_heartbeat DESC, instance_id DESC LIMIT %(limit)s
)
SELECT s.instance_id, s.project, s.instance_type, s.status, s.context_percent, s.current_epic, s.last_heartbeat,
    s.created_at, s.closed_at, s.thread_id, s.owner_epoch, s.superseded_by, s.last_sequence_num,
    s.parent_instance_id, s.parent_sequence_num, s.relation, s.harness, s.harness_session_id, s.host, s.pid, s.cwd,
    s.git_branch, s.git_head, s.heartbeat_interval_seconds, s.metadata, s.legal_hold, s.process_seen_at,
    c.id, c.action, c.tool_name, c.started_at,
    e.sequence_num, e.event_type, e.created_at,
    k.sequence_num, k.timestamp
FROM s
LEFT JOIN LATERAL (
    SELECT id, action, tool_name, started_at FROM command_log
    WHERE instance_id = s.instance_id AND outcome IS NULL AND success IS NULL
    ORDER BY id DESC LIMIT 1) c ON true
LEFT JOIN LATERAL (
    SELECT sequence_num, event_type, created_at FROM event_store
    WHERE instance_id = s.instance_id ORDER BY sequence_num DESC LIMIT 1) e ON true
LEFT JOIN LATERAL (
    SELECT sequence_num, timestamp FROM checkpoints
    WHERE instance_id = s.instance_id ORDER BY sequence_num DESC LIMIT 1) k ON true
ORDER BY s.last_heartbeat DESC, s.instance_id DESC;

-- name: list_projects
-- The projects that have a session, by name: one step through the index for each.
WITH RECURSIVE found AS (
    (SELECT project FROM supervisor_sessions
        WHERE %(projects)s::text[] IS NULL OR project = ANY(%(projects)s) ORDER BY project LIMIT 1)
    UNION ALL
    SELECT (SELECT s.project FROM supervisor_sessions s
        WHERE s.project > found.project AND (%(projects)s::text[] IS NULL OR s.project = ANY(%(projects)s))
        ORDER BY s.project LIMIT 1)
    FROM found WHERE found.project IS NOT NULL
)
SELECT project FROM found WHERE project IS NOT NULL LIMIT %(limit)s;
