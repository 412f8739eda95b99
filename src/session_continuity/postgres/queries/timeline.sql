-- name: get_timeline
-- Events, commands and checkpoints merged by time; each part is bounded by its own index.
SELECT at, kind, reference, name, detail, outcome, context_window_percent FROM (
    (SELECT created_at AS at, 1 AS rank, 'event' AS kind, sequence_num AS reference, event_type AS name,
        event_data AS detail, NULL AS outcome, NULL::integer AS context_window_percent
    FROM event_store
    WHERE instance_id = %(instance_id)s
        AND (%(at)s::timestamptz IS NULL OR created_at >= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (created_at, 1, sequence_num) > (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY created_at, sequence_num LIMIT %(limit)s)
    UNION ALL
    (SELECT created_at, 2, 'command', id, action, parameters,
        coalesce(outcome, CASE success WHEN true THEN 'success' WHEN false THEN 'failure' END), NULL
    FROM command_log
    WHERE instance_id = %(instance_id)s
        AND (%(at)s::timestamptz IS NULL OR created_at >= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (created_at, 2, id) > (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY created_at, id LIMIT %(limit)s)
    UNION ALL
    (SELECT timestamp, 3, 'checkpoint', sequence_num, checkpoint_type, NULL, NULL, context_window_percent
    FROM checkpoints
    WHERE instance_id = %(instance_id)s
        AND (%(at)s::timestamptz IS NULL OR timestamp >= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (timestamp, 3, sequence_num) > (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY timestamp, sequence_num LIMIT %(limit)s)
) entries
ORDER BY at, rank, reference
LIMIT %(limit)s;
