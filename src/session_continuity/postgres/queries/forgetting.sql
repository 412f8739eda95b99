-- name: act_as_login
-- Until the end of the transaction, the login's own rights: the writer's role may not delete.
SELECT set_config('role', 'none', true);

-- name: find_forgettable
-- A session, or all instances of its thread.
SELECT {session_columns} FROM supervisor_sessions
WHERE instance_id = %(instance_id)s
    OR (%(whole_thread)s AND thread_id = (
        SELECT t.thread_id FROM supervisor_sessions t WHERE t.instance_id = %(instance_id)s))
ORDER BY owner_epoch;

-- name: count_content
-- What there is of some sessions.
SELECT (SELECT count(*) FROM event_store e WHERE e.instance_id = ANY(%(instance_ids)s::text[])),
    (SELECT count(*) FROM command_log c WHERE c.instance_id = ANY(%(instance_ids)s::text[])),
    (SELECT count(*) FROM checkpoints k WHERE k.instance_id = ANY(%(instance_ids)s::text[]));

-- name: find_inheriting
-- Sessions that went on, at any remove, with the work state of one of these, and are not among them or forgotten.
WITH RECURSIVE inheriting AS (
    SELECT s.instance_id FROM supervisor_sessions s
    WHERE s.parent_instance_id = ANY(%(instance_ids)s::text[]) AND s.relation IN ('resumed_from', 'forked_from')
    UNION
    SELECT s.instance_id FROM inheriting i JOIN supervisor_sessions s ON s.parent_instance_id = i.instance_id
    WHERE s.relation IN ('resumed_from', 'forked_from')
)
SELECT s.instance_id FROM inheriting i JOIN supervisor_sessions s USING (instance_id)
WHERE NOT s.metadata ? 'forgotten' AND s.instance_id <> ALL(%(instance_ids)s::text[])
ORDER BY s.created_at, s.instance_id;

-- name: forget_sessions
-- Erases the content of some sessions, each with its tombstone.
SELECT forget_session(g.instance_id) FROM unnest(%(instance_ids)s::text[]) AS g (instance_id);
