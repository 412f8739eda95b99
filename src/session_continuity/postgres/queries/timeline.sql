-- fragment: timeline_columns
at, kind, reference, name, detail, outcome, context_window_percent, tool_name, execution_time_ms

-- fragment: timeline_events
SELECT created_at AS at, 1 AS rank, 'event' AS kind, sequence_num AS reference, event_type AS name,
        event_data AS detail, NULL AS outcome, NULL::integer AS context_window_percent, NULL::text AS tool_name,
        NULL::bigint AS execution_time_ms
    FROM event_store
    WHERE instance_id = %(instance_id)s
        AND (%(kinds)s::text[] IS NULL OR 'event' = ANY(%(kinds)s)) AND %(outcome)s::text IS NULL
        AND (%(type)s::text IS NULL OR event_type = %(type)s)
        AND (%(text)s::text IS NULL OR position(lower(%(text)s) IN lower(event_type || ' ' || event_data::text)) > 0)

-- fragment: timeline_commands
SELECT created_at, 2, 'command', id, action, parameters,
        coalesce(outcome, CASE success WHEN true THEN 'success' WHEN false THEN 'failure' END), NULL, tool_name,
        execution_time_ms
    FROM command_log
    WHERE instance_id = %(instance_id)s
        AND (%(kinds)s::text[] IS NULL OR 'command' = ANY(%(kinds)s))
        AND (%(type)s::text IS NULL OR coalesce(tool_name, command_type) = %(type)s)
        AND (%(outcome)s::text IS NULL OR %(outcome)s = coalesce(
            outcome, CASE success WHEN true THEN 'success' WHEN false THEN 'failure' ELSE 'in_flight' END))
        AND (%(text)s::text IS NULL OR position(lower(%(text)s) IN lower(concat_ws(' ', action, tool_name,
            parameters::text, error_message, result::text))) > 0)

-- fragment: timeline_checkpoints
SELECT timestamp, 3, 'checkpoint', sequence_num, checkpoint_type, NULL, NULL, context_window_percent, NULL, NULL
    FROM checkpoints
    WHERE instance_id = %(instance_id)s
        AND (%(kinds)s::text[] IS NULL OR 'checkpoint' = ANY(%(kinds)s))
        AND %(outcome)s::text IS NULL AND %(text)s::text IS NULL
        AND (%(type)s::text IS NULL OR checkpoint_type = %(type)s)

-- name: get_timeline
-- Events, commands and checkpoints merged by time; each part is bounded by its own index.
SELECT {timeline_columns} FROM (
    ({timeline_events}
        AND (%(at)s::timestamptz IS NULL OR created_at >= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (created_at, 1, sequence_num) > (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY created_at, sequence_num LIMIT %(limit)s)
    UNION ALL
    ({timeline_commands}
        AND (%(at)s::timestamptz IS NULL OR created_at >= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (created_at, 2, id) > (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY created_at, id LIMIT %(limit)s)
    UNION ALL
    ({timeline_checkpoints}
        AND (%(at)s::timestamptz IS NULL OR timestamp >= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (timestamp, 3, sequence_num) > (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY timestamp, sequence_num LIMIT %(limit)s)
) entries
ORDER BY at, rank, reference
LIMIT %(limit)s;

-- name: get_timeline_before
-- The same, the latest first.
SELECT {timeline_columns} FROM (
    ({timeline_events}
        AND (%(at)s::timestamptz IS NULL OR created_at <= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (created_at, 1, sequence_num) < (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY created_at DESC, sequence_num DESC LIMIT %(limit)s)
    UNION ALL
    ({timeline_commands}
        AND (%(at)s::timestamptz IS NULL OR created_at <= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (created_at, 2, id) < (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s)
    UNION ALL
    ({timeline_checkpoints}
        AND (%(at)s::timestamptz IS NULL OR timestamp <= %(at)s)
        AND (%(at)s::timestamptz IS NULL OR (timestamp, 3, sequence_num) < (%(at)s, %(rank)s::integer, %(reference)s))
    ORDER BY timestamp DESC, sequence_num DESC LIMIT %(limit)s)
) entries
ORDER BY at DESC, rank DESC, reference DESC
LIMIT %(limit)s;

-- name: find_timeline_entry
-- When an entry of a session is, by its kind and reference.
SELECT created_at FROM event_store
WHERE %(kind)s::text = 'event' AND instance_id = %(instance_id)s AND sequence_num = %(reference)s::bigint
UNION ALL
SELECT created_at FROM command_log
WHERE %(kind)s = 'command' AND instance_id = %(instance_id)s AND id = %(reference)s
UNION ALL
(SELECT timestamp FROM checkpoints
WHERE %(kind)s = 'checkpoint' AND instance_id = %(instance_id)s AND sequence_num = %(reference)s LIMIT 1);
