-- fragment: command_columns
id, instance_id, command_type, action, tool_name, parameters, result, success, error_message, execution_time_ms,
tags, context_data, created_at, operation_id, tool_call_id,
coalesce(outcome, CASE success WHEN true THEN 'success' WHEN false THEN 'failure' END) AS outcome, started_at, late

-- name: record_commands
-- Intents, or intents with their outcomes; an outcome completes a recorded intent and never changes another. A
-- forgotten session, which is fenced by itself, takes none.
INSERT INTO command_log AS c (
    instance_id, command_type, action, tool_name, parameters, result, success, error_message, execution_time_ms,
    tags, context_data, created_at, started_at, operation_id, tool_call_id, outcome, owner_epoch, late
)
SELECT s.instance_id, g.command_type, g.action, g.tool_name, g.parameters::jsonb, g.result::jsonb,
    CASE g.outcome WHEN 'success' THEN true WHEN 'failure' THEN false END, g.error_message,
    g.execution_time_ms::bigint, ARRAY(SELECT jsonb_array_elements_text(g.tags::jsonb)), g.context_data::jsonb,
    coalesce(g.started_at, now()), coalesce(g.started_at, now()), g.operation_id, g.tool_call_id, g.outcome,
    s.owner_epoch, s.superseded_by IS NOT NULL
FROM supervisor_sessions s, unnest(
    %(operation_ids)b::uuid[], %(command_types)b::text[], %(actions)b::text[], %(tool_names)b::text[],
    %(parameters)b::text[], %(outcomes)b::text[], %(results)b::text[], %(error_messages)b::text[],
    %(execution_times)s::bigint[], %(tags)b::text[], %(context_datas)b::text[], %(tool_call_ids)b::text[],
    %(started_ats)b::timestamptz[]
) WITH ORDINALITY AS g (
    operation_id, command_type, action, tool_name, parameters, outcome, result, error_message,
    execution_time_ms, tags, context_data, tool_call_id, started_at, part
)
WHERE s.instance_id = %(instance_id)s AND s.superseded_by IS DISTINCT FROM s.instance_id
ORDER BY g.part
ON CONFLICT (operation_id) DO UPDATE SET
    result = CASE WHEN c.outcome IS NULL OR c.outcome = 'unknown' THEN coalesce(EXCLUDED.result, c.result) ELSE c.result END,
    success = CASE WHEN c.outcome IS NULL OR c.outcome = 'unknown' THEN coalesce(EXCLUDED.success, c.success) ELSE c.success END,
    tags = CASE WHEN (c.outcome IS NULL OR c.outcome = 'unknown') AND NOT EXCLUDED.tags <@ c.tags
        THEN ARRAY(SELECT DISTINCT unnest(c.tags || EXCLUDED.tags) ORDER BY 1) ELSE c.tags END,
    context_data = CASE WHEN c.outcome IS NULL OR c.outcome = 'unknown' THEN c.context_data || EXCLUDED.context_data
        ELSE c.context_data END,
    error_message = coalesce(c.error_message, EXCLUDED.error_message),
    execution_time_ms = coalesce(c.execution_time_ms, EXCLUDED.execution_time_ms),
    late = c.late OR (EXCLUDED.late AND EXCLUDED.outcome IS NOT NULL AND (c.outcome IS NULL OR c.outcome = 'unknown')),
    outcome = CASE WHEN c.outcome IS NULL OR c.outcome = 'unknown' THEN coalesce(EXCLUDED.outcome, c.outcome) ELSE c.outcome END
WHERE c.instance_id = EXCLUDED.instance_id AND c.command_type = EXCLUDED.command_type AND c.action = EXCLUDED.action
RETURNING {command_columns};

-- name: record_outcome
-- Completes one intent whose outcome is not known yet.
UPDATE command_log SET
    outcome = %(outcome)s::text,
    success = CASE %(outcome)s::text WHEN 'success' THEN true WHEN 'failure' THEN false END,
    result = coalesce(%(result)s::jsonb, result),
    error_message = coalesce(%(error_message)s::text, error_message),
    execution_time_ms = coalesce(%(execution_time_ms)s::bigint, execution_time_ms,
        (1000 * extract(epoch FROM greatest(clock_timestamp() - started_at, interval '0')))::bigint),
    late = (SELECT s.superseded_by IS NOT NULL FROM supervisor_sessions s WHERE s.instance_id = %(instance_id)s)
WHERE instance_id = %(instance_id)s
    AND (id = %(command_id)s::bigint OR operation_id = %(operation_id)s::uuid)
    AND ((outcome IS NULL AND success IS NULL) OR outcome = 'unknown')
RETURNING {command_columns};

-- name: get_command
-- One command by its id or its operation id.
SELECT {command_columns} FROM command_log
WHERE instance_id = %(instance_id)s AND (id = %(command_id)s::bigint OR operation_id = %(operation_id)s::uuid);

-- name: search_commands
-- Commands, latest first.
SELECT {command_columns} FROM command_log
WHERE (%(instance_id)s::text IS NULL OR instance_id = %(instance_id)s)
    AND (%(project)s::text IS NULL OR instance_id IN (
        SELECT s.instance_id FROM supervisor_sessions s WHERE s.project = %(project)s
    ))
    AND (%(projects)s::text[] IS NULL OR instance_id IN (
        SELECT s.instance_id FROM supervisor_sessions s WHERE s.project = ANY(%(projects)s)
    ))
    AND (%(tool_name)s::text IS NULL OR tool_name = %(tool_name)s)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(command_type)s::text IS NULL OR command_type = %(command_type)s)
    AND (%(outcome)s::text IS NULL OR %(outcome)s =
        coalesce(outcome, CASE success WHEN true THEN 'success' WHEN false THEN 'failure' ELSE 'in_flight' END))
    AND (%(pattern)s::text IS NULL OR action ILIKE %(pattern)s OR tool_name ILIKE %(pattern)s
        OR error_message ILIKE %(pattern)s OR parameters::text ILIKE %(pattern)s)
    AND (%(tag)s::text IS NULL OR %(tag)s = ANY(tags))
    AND (%(slower_than_ms)s::bigint IS NULL OR execution_time_ms > %(slower_than_ms)s)
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (created_at, id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s::bigint)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s;

-- name: search_failed_commands
-- Failed commands of all sessions, latest first, by the partial index of just those.
SELECT {command_columns} FROM command_log
WHERE success = false
    AND (%(project)s::text IS NULL OR instance_id IN (
        SELECT s.instance_id FROM supervisor_sessions s WHERE s.project = %(project)s
    ))
    AND (%(projects)s::text[] IS NULL OR instance_id IN (
        SELECT s.instance_id FROM supervisor_sessions s WHERE s.project = ANY(%(projects)s)
    ))
    AND (%(tool_name)s::text IS NULL OR tool_name = %(tool_name)s)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(command_type)s::text IS NULL OR command_type = %(command_type)s)
    AND (%(pattern)s::text IS NULL OR action ILIKE %(pattern)s OR tool_name ILIKE %(pattern)s
        OR error_message ILIKE %(pattern)s OR parameters::text ILIKE %(pattern)s)
    AND (%(tag)s::text IS NULL OR %(tag)s = ANY(tags))
    AND (%(slower_than_ms)s::bigint IS NULL OR execution_time_ms > %(slower_than_ms)s)
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (created_at, id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s::bigint)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s;

-- name: find_commands_for_brief
-- What a brief says of commands: those without an outcome, the last failed ones, the last ones.
(SELECT {command_columns}, 'unknown' AS role FROM command_log
    WHERE instance_id = %(instance_id)s AND ((outcome IS NULL AND success IS NULL) OR outcome = 'unknown')
    ORDER BY id DESC LIMIT %(limit)s)
UNION ALL
(SELECT {command_columns}, 'failed' FROM command_log
    WHERE instance_id = %(instance_id)s AND success = false AND NOT late
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s)
UNION ALL
(SELECT {command_columns}, 'recent' FROM command_log
    WHERE instance_id = %(instance_id)s AND NOT late
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s);
