-- name: get_family
-- All that descend from the earliest ancestor of a session, the generations nearest to its own first.
WITH RECURSIVE ancestor AS (
    SELECT instance_id, parent_instance_id, 0 AS height
    FROM supervisor_sessions WHERE instance_id = %(instance_id)s
        AND (%(projects)s::text[] IS NULL OR project = ANY(%(projects)s))
    UNION ALL
    SELECT s.instance_id, s.parent_instance_id, a.height + 1
    FROM ancestor a JOIN supervisor_sessions s ON s.instance_id = a.parent_instance_id
    WHERE a.height < 1000 AND (%(projects)s::text[] IS NULL OR s.project = ANY(%(projects)s))
), descendant AS (
    (SELECT instance_id, 0 AS depth FROM ancestor ORDER BY height DESC LIMIT 1)
    UNION ALL
    SELECT s.instance_id, d.depth + 1
    FROM descendant d JOIN supervisor_sessions s ON s.parent_instance_id = d.instance_id
    WHERE d.depth < 1000 AND (%(projects)s::text[] IS NULL OR s.project = ANY(%(projects)s))
), nearest AS (
    SELECT instance_id FROM (SELECT instance_id, depth FROM descendant LIMIT 10000) found
    ORDER BY abs(depth - (SELECT max(height) FROM ancestor)), instance_id LIMIT %(limit)s
)
SELECT {session_columns} FROM supervisor_sessions WHERE instance_id IN (SELECT instance_id FROM nearest);
