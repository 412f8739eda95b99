-- name: find_resumable
-- Sessions that own their thread, by what a person calls them.
SELECT {session_columns} FROM supervisor_sessions
WHERE superseded_by IS NULL
    AND (%(project)s::text IS NULL OR project = %(project)s)
    AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
    AND CASE %(by)s::text
        WHEN 'instance_id' THEN thread_id IN (
            SELECT t.thread_id FROM supervisor_sessions t WHERE t.instance_id = %(name)s)
        WHEN 'suffix' THEN thread_id IN (
            SELECT t.thread_id FROM supervisor_sessions t WHERE right(t.instance_id, 6) = %(name)s)
        WHEN 'epic' THEN current_epic = %(name)s
        WHEN 'project' THEN project = %(name)s
        WHEN 'last' THEN instance_id = (
            SELECT t.instance_id FROM supervisor_sessions t
            WHERE t.superseded_by IS NULL AND (%(project)s::text IS NULL OR t.project = %(project)s)
                AND (%(projects)s::text[] IS NULL OR t.project = ANY(%(projects)s))
            ORDER BY t.status = 'closed', t.last_heartbeat DESC, t.created_at DESC
            LIMIT 1)
    END
ORDER BY last_heartbeat DESC
LIMIT 20;

-- name: lock_session
-- The session's row, locked: appends, heartbeats and checkpoints of this instance wait, then see the fence.
SELECT {session_columns} FROM supervisor_sessions WHERE instance_id = %(instance_id)s FOR NO KEY UPDATE;

-- name: continue_session
-- The successor with its first events and its first checkpoint.
WITH predecessor AS (
    SELECT project, instance_type, current_epic, context_percent, thread_id, owner_epoch, heartbeat_interval_seconds
    FROM supervisor_sessions WHERE instance_id = %(predecessor_id)s
), successor AS (
    INSERT INTO supervisor_sessions (
        instance_id, project, instance_type, current_epic, thread_id, owner_epoch, last_sequence_num,
        parent_instance_id, parent_sequence_num, relation, harness, harness_session_id, host, pid, cwd,
        git_branch, git_head, heartbeat_interval_seconds, metadata
    )
    SELECT %(successor_id)s, project, instance_type, current_epic,
        CASE WHEN %(same_thread)s THEN thread_id ELSE gen_random_uuid() END,
        CASE WHEN %(same_thread)s THEN owner_epoch + 1 ELSE 1 END,
        %(count)s, %(predecessor_id)s, %(parent_sequence_num)s, %(relation)s, %(harness)s, %(harness_session_id)s,
        %(host)s, %(pid)s::integer, %(cwd)s, %(git_branch)s, %(git_head)s, heartbeat_interval_seconds, %(metadata)s::jsonb
    FROM predecessor
    RETURNING {session_columns}
), events AS (
    INSERT INTO event_store (event_id, instance_id, event_type, sequence_num, event_data, owner_epoch)
    SELECT e.event_id, successor.instance_id, e.event_type, e.part, e.event_data::jsonb, successor.owner_epoch
    FROM successor, unnest(
        %(event_ids)b::uuid[], %(event_types)b::text[], %(event_data)b::text[]
    ) WITH ORDINALITY AS e (event_id, event_type, event_data, part)
), checkpoint AS (
    INSERT INTO checkpoints (
        checkpoint_id, instance_id, checkpoint_type, sequence_num, work_state, metadata, owner_epoch, state_hash,
        schema_version
    )
    SELECT %(checkpoint_id)s::uuid, instance_id, 'automatic', last_sequence_num, %(work_state)s::jsonb, %(reason)s::jsonb,
        owner_epoch, %(state_hash)s::bytea, %(schema_version)s
    FROM successor
)
SELECT {session_columns} FROM successor;

-- name: supersede_session
-- The fence: from the commit of this transaction on, the old instance writes no more.
UPDATE supervisor_sessions SET
    superseded_by = %(successor_id)s, status = 'closed', closed_at = coalesce(closed_at, now())
WHERE instance_id = %(instance_id)s
RETURNING instance_id;

-- name: settle_unknown_commands
-- Commands in flight when their instance was taken over have an unknown outcome.
UPDATE command_log SET outcome = 'unknown'
WHERE instance_id = %(instance_id)s AND outcome IS NULL AND success IS NULL
RETURNING id;

-- name: get_lineage
-- The instance and those whose work it goes on with, latest first.
WITH RECURSIVE lineage AS (
    SELECT instance_id, parent_instance_id, relation, parent_sequence_num, 1 AS depth
    FROM supervisor_sessions WHERE instance_id = %(instance_id)s
    UNION ALL
    SELECT s.instance_id, s.parent_instance_id, s.relation, s.parent_sequence_num, l.depth + 1
    FROM lineage l JOIN supervisor_sessions s ON s.instance_id = l.parent_instance_id
    WHERE l.relation IN ('resumed_from', 'forked_from') AND l.parent_sequence_num IS NOT NULL AND l.depth < 1000
)
SELECT instance_id FROM lineage ORDER BY depth;
