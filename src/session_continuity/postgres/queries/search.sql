-- name: index_events
-- The next events of sessions that have more than was indexed; those that say nothing are passed over. Events are
-- visible as a prefix of their session, so nothing is committed later below the cursor; but for what is restored, which
-- moves it back: then it stays there, whoever was indexing meanwhile.
WITH changed AS (
    SELECT s.instance_id, s.last_sequence_num, coalesce(c.sequence_num, 0) AS done
    FROM supervisor_sessions s LEFT JOIN search_cursors c ON c.instance_id = s.instance_id
    WHERE s.last_sequence_num > coalesce(c.sequence_num, 0)
        AND (%(all)s::boolean OR s.heartbeat_bucket > now() - interval '1 hour 10 minutes')
        AND NOT s.metadata ? 'forgotten'
    LIMIT %(sessions)s
), read AS (
    SELECT c.instance_id, e.sequence_num, e.event_type, e.event_data, e.timestamp
    FROM changed c CROSS JOIN LATERAL (
        SELECT sequence_num, event_type, event_data, timestamp FROM event_store
        WHERE instance_id = c.instance_id AND sequence_num > c.done ORDER BY sequence_num LIMIT %(events)s) e
), stored AS (
    INSERT INTO search_documents (kind, instance_id, reference, at, words)
    SELECT 'event', instance_id, sequence_num, timestamp,
        search_vector(replace(event_type, '_', ' ') || ' ' || event_data::text)
    FROM read
    WHERE event_type <> ALL ('{instance_heartbeat,context_window_updated,checkpoint_created,checkpoint_loaded}')
    ON CONFLICT DO NOTHING
), moved AS (
    INSERT INTO search_cursors AS c (instance_id, sequence_num)
    SELECT c.instance_id, CASE WHEN count(r.sequence_num) < %(events)s
        THEN c.last_sequence_num ELSE max(r.sequence_num) END
    FROM changed c LEFT JOIN read r ON r.instance_id = c.instance_id
    GROUP BY c.instance_id, c.last_sequence_num
    ON CONFLICT (instance_id) DO UPDATE SET sequence_num = excluded.sequence_num
        WHERE c.sequence_num = (SELECT x.done FROM changed x WHERE x.instance_id = c.instance_id)
    RETURNING instance_id
)
SELECT (SELECT count(*) FROM read), (SELECT count(*) FROM moved);

-- name: index_commands
-- The next commands by id. The cursor stops below the first one whose transaction may have neighbours that are not
-- visible yet, and the thousand ids below it are looked at again: an id is taken before its transaction has a number.
WITH progress AS (
    SELECT coalesce((SELECT command_id FROM search_progress WHERE name = 'command_log'), 0) AS done
), read AS (
    SELECT c.id, c.instance_id, c.action, c.tool_name, c.command_type, c.parameters, c.result, c.error_message,
        c.created_at, c.outcome IS NOT NULL OR c.success IS NOT NULL AS is_final,
        age(c.xmin) > age((pg_snapshot_xmin(pg_current_snapshot())::text::bigint - (pg_snapshot_xmin(pg_current_snapshot())::text::bigint >> 32 << 32))::text::xid) AS is_settled
    FROM command_log c
    WHERE c.id > (SELECT done FROM progress) - 1000
    ORDER BY c.id LIMIT %(commands)s
), stored AS (
    INSERT INTO search_documents (kind, instance_id, reference, at, is_final, words)
    SELECT 'command', r.instance_id, r.id, r.created_at, r.is_final, search_vector(concat_ws(' ', r.action, r.tool_name,
        r.command_type, r.parameters::text, r.error_message, r.result::text))
    FROM read r JOIN supervisor_sessions s ON s.instance_id = r.instance_id AND NOT s.metadata ? 'forgotten'
    WHERE NOT EXISTS (SELECT FROM search_documents d
        WHERE d.instance_id = r.instance_id AND d.kind = 'command' AND d.reference = r.id)
    ON CONFLICT DO NOTHING
    RETURNING reference
), moved AS (
    INSERT INTO search_progress AS p (name, command_id)
    SELECT 'command_log', coalesce(min(id) FILTER (WHERE NOT is_settled) - 1, max(id)) FROM read HAVING count(*) > 0
    ON CONFLICT (name) DO UPDATE SET command_id = greatest(p.command_id, excluded.command_id)
    RETURNING command_id
)
SELECT (SELECT count(*) FROM stored), (SELECT count(*) FROM read);

-- name: finish_commands
-- Commands that were in flight when they were indexed and have an outcome now.
WITH ended AS (
    SELECT d.instance_id, d.reference, search_vector(concat_ws(' ', c.action, c.tool_name, c.command_type,
        c.parameters::text, c.error_message, c.result::text)) AS words
    FROM search_documents d JOIN command_log c ON c.id = d.reference
    WHERE NOT d.is_final AND d.kind = 'command' AND (c.outcome IS NOT NULL OR c.success IS NOT NULL)
    LIMIT %(commands)s
)
UPDATE search_documents d SET is_final = true, words = ended.words
FROM ended WHERE d.instance_id = ended.instance_id AND d.kind = 'command' AND d.reference = ended.reference
RETURNING d.reference;

-- name: index_checkpoints
-- The latest checkpoint of each session that has a newer one than was indexed; its predecessor's words go.
WITH changed AS (
    SELECT s.instance_id, k.sequence_num, k.timestamp, k.work_state
    FROM supervisor_sessions s LEFT JOIN search_cursors c ON c.instance_id = s.instance_id
    CROSS JOIN LATERAL (
        SELECT sequence_num, timestamp, work_state FROM checkpoints
        WHERE instance_id = s.instance_id ORDER BY sequence_num DESC LIMIT 1) k
    WHERE k.sequence_num > coalesce(c.checkpoint_num, 0)
        AND (%(all)s::boolean OR s.heartbeat_bucket > now() - interval '1 hour 10 minutes')
        AND NOT s.metadata ? 'forgotten'
    LIMIT %(sessions)s
), dropped AS (
    DELETE FROM search_documents d USING changed
    WHERE d.instance_id = changed.instance_id AND d.kind = 'checkpoint' AND d.reference < changed.sequence_num
), stored AS (
    INSERT INTO search_documents (kind, instance_id, reference, at, words)
    SELECT 'checkpoint', instance_id, sequence_num, timestamp, search_vector(work_state::text) FROM changed
    ON CONFLICT DO NOTHING
), moved AS (
    INSERT INTO search_cursors AS c (instance_id, checkpoint_num)
    SELECT instance_id, sequence_num FROM changed
    ON CONFLICT (instance_id) DO UPDATE SET checkpoint_num = greatest(c.checkpoint_num, excluded.checkpoint_num)
    RETURNING instance_id
)
SELECT count(*) FROM moved;

-- name: index_sessions
-- What the registry says of each session, whenever it changed.
WITH said AS (
    SELECT s.instance_id, s.created_at, search_vector(concat_ws(' ', s.instance_id, s.project, s.current_epic, s.harness,
        s.harness_session_id, s.host, s.cwd, s.git_branch)) AS words
    FROM supervisor_sessions s
    WHERE (%(all)s::boolean OR s.heartbeat_bucket > now() - interval '1 hour 10 minutes')
        AND NOT s.metadata ? 'forgotten'
), changed AS (
    SELECT said.instance_id, said.created_at, said.words FROM said LEFT JOIN search_documents d
        ON d.instance_id = said.instance_id AND d.kind = 'session' AND d.reference = 0
    WHERE d.words IS DISTINCT FROM said.words
    LIMIT %(sessions)s
)
INSERT INTO search_documents (kind, instance_id, reference, at, words)
SELECT 'session', instance_id, 0, created_at, words FROM changed
ON CONFLICT (instance_id, kind, reference) DO UPDATE SET words = excluded.words
RETURNING instance_id;

-- name: search_records
-- What holds the words, the latest first, with the text that they stand in. The texts are looked up one by one for as
-- many as are asked for (LIMIT 1 keeps the planner from joining the whole tables); what was archived has none.
SELECT d.kind, d.instance_id, d.project, d.reference, d.at, d.document_id,
    CASE d.kind
        WHEN 'event' THEN replace(e.event_type, '_', ' ') WHEN 'command' THEN concat_ws(' ', c.tool_name, c.action)
        WHEN 'checkpoint' THEN 'checkpoint' ELSE d.status END,
    left(CASE d.kind
        WHEN 'event' THEN e.body WHEN 'command' THEN c.body WHEN 'checkpoint' THEN k.body ELSE d.body END, 20000),
    c.outcome
FROM (
    SELECT d.kind, d.instance_id, s.project, d.reference, d.at, d.document_id, s.status,
        concat_ws(' ', s.instance_id, s.project, s.current_epic, s.harness, s.host, s.cwd, s.git_branch) AS body
    FROM search_documents d JOIN supervisor_sessions s ON s.instance_id = d.instance_id
    WHERE d.words @@ to_tsquery('pg_catalog.simple', %(query)s)
        AND (%(kinds)s::text[] IS NULL OR d.kind = ANY(%(kinds)s))
        AND (%(instance_id)s::text IS NULL OR d.instance_id = %(instance_id)s)
        AND (%(project)s::text IS NULL OR s.project = %(project)s)
        AND (%(projects)s::text[] IS NULL OR s.project = ANY(%(projects)s))
        AND (d.at, d.document_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s)
    ORDER BY d.at DESC, d.document_id DESC
) d
LEFT JOIN LATERAL (SELECT event_type, event_data::text AS body FROM event_store x
    WHERE d.kind = 'event' AND x.instance_id = d.instance_id AND x.sequence_num = d.reference LIMIT 1) e ON true
LEFT JOIN LATERAL (SELECT tool_name, action,
        concat_ws(' ', action, parameters::text, error_message, result::text) AS body,
        coalesce(outcome, CASE success WHEN true THEN 'success' WHEN false THEN 'failure' END) AS outcome
    FROM command_log x WHERE d.kind = 'command' AND x.id = d.reference LIMIT 1) c ON true
LEFT JOIN LATERAL (SELECT work_state::text AS body FROM checkpoints x
    WHERE d.kind = 'checkpoint' AND x.instance_id = d.instance_id AND x.sequence_num = d.reference LIMIT 1) k ON true
WHERE d.kind = 'session' OR coalesce(e.body, c.body, k.body) IS NOT NULL
ORDER BY d.at DESC, d.document_id DESC LIMIT %(limit)s;
