-- name: lock_prunable
-- Those of the sessions of which rows may be deleted, kept from being held or forgotten until that is done.
SELECT instance_id FROM supervisor_sessions
WHERE instance_id = ANY (%(instance_ids)s::text[]) AND NOT legal_hold AND NOT metadata ? 'forgotten'
ORDER BY instance_id
FOR SHARE;

-- name: stream_sessions
-- The registry's rows of some sessions.
SELECT instance_id, project, instance_type, status, context_percent, current_epic, last_heartbeat, created_at,
    closed_at, thread_id, owner_epoch, superseded_by, last_sequence_num, parent_instance_id, parent_sequence_num,
    relation, harness, harness_session_id, host, pid, cwd, git_branch, git_head, heartbeat_interval_seconds, metadata,
    legal_hold, process_seen_at
FROM supervisor_sessions WHERE instance_id = ANY (%(instance_ids)s::text[])
ORDER BY instance_id;

-- name: stream_events
-- Events between two numbers of each session.
SELECT e.event_id, e.instance_id, e.event_type, e.sequence_num, e.event_data, e.metadata, e.timestamp, e.created_at,
    e.owner_epoch
FROM unnest(%(instance_ids)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[]) AS g (instance_id, first, last)
JOIN event_store e ON e.instance_id = g.instance_id AND e.sequence_num BETWEEN g.first AND g.last
ORDER BY e.instance_id, e.sequence_num;

-- name: stream_commands
-- Commands by their ids.
SELECT id, instance_id, command_type, action, tool_name, parameters, result, success, error_message,
    execution_time_ms, tags, context_data, created_at, owner_epoch, operation_id, tool_call_id, outcome, started_at, late
FROM command_log WHERE id = ANY (%(ids)s::bigint[])
ORDER BY instance_id, id;

-- name: stream_checkpoints
-- Checkpoints by their ids.
SELECT checkpoint_id, instance_id, checkpoint_type, sequence_num, context_window_percent, work_state, metadata,
    timestamp, created_at, owner_epoch, state_hash, schema_version
FROM checkpoints WHERE checkpoint_id = ANY (%(ids)s::uuid[])
ORDER BY instance_id, checkpoint_id;

-- name: prune_events
-- Deletes events between two numbers of each session, and their words.
WITH words AS (
    DELETE FROM search_documents d
    USING unnest(%(instance_ids)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[]) AS g (instance_id, first, last)
    WHERE d.instance_id = g.instance_id AND d.kind = 'event' AND d.reference BETWEEN g.first AND g.last
)
DELETE FROM event_store e
USING unnest(%(instance_ids)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[]) AS g (instance_id, first, last)
WHERE e.instance_id = g.instance_id AND e.sequence_num BETWEEN g.first AND g.last;

-- name: prune_commands
-- Deletes commands by their ids, and their words.
WITH words AS (
    DELETE FROM search_documents d
    USING unnest(%(instance_ids)s::text[], %(ids)s::bigint[]) AS g (instance_id, id)
    WHERE d.instance_id = g.instance_id AND d.kind = 'command' AND d.reference = g.id
)
DELETE FROM command_log WHERE id = ANY (%(ids)s::bigint[]);

-- name: prune_checkpoints
-- Deletes checkpoints by their ids. They have no words: of these only the latest one of a session does, which stays.
DELETE FROM checkpoints WHERE checkpoint_id = ANY (%(ids)s::uuid[]);

-- name: lock_forgotten
-- Those of the sessions that were forgotten; the others can't be until the transaction ends.
SELECT l.instance_id FROM (
    SELECT instance_id, metadata FROM supervisor_sessions
    WHERE instance_id = ANY (%(instance_ids)s::text[]) ORDER BY instance_id FOR SHARE) l
WHERE l.metadata ? 'forgotten';

-- name: index_again
-- Lets the index of the search take in what was restored: events from their first number on, and commands as those
-- that were in flight when they were indexed.
WITH events AS (
    UPDATE search_cursors c SET sequence_num = least(c.sequence_num, g.first - 1)
    FROM unnest(%(instance_ids)s::text[], %(firsts)s::bigint[]) AS g (instance_id, first)
    WHERE c.instance_id = g.instance_id
), commands AS (
    INSERT INTO search_documents (kind, instance_id, reference, at, is_final, words)
    SELECT 'command', c.instance_id, c.id, c.created_at, false, ''::tsvector FROM command_log c
    WHERE c.instance_id = ANY (%(instance_ids)s::text[]) AND (c.outcome IS NOT NULL OR c.success IS NOT NULL)
    ON CONFLICT DO NOTHING
    RETURNING reference
)
SELECT count(*) FROM commands;

-- name: find_buried
-- Those of the sessions that were deleted.
SELECT DISTINCT t.instance_id FROM session_tombstones t
WHERE t.instance_id = ANY (%(instance_ids)s::text[]) AND NOT t.forgotten
    AND NOT EXISTS (SELECT FROM supervisor_sessions s WHERE s.instance_id = t.instance_id);

-- name: latest_migration
-- The schema that rows are copied from.
SELECT max(version) FROM schema_migrations;
