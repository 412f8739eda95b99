-- name: find_checkpoints_due
-- One page of the sessions that may still run, by host and thread: where it ends, and of those on it that are due for a
-- checkpoint why. What capture would checkpoint itself it is given a minute for.
WITH page AS MATERIALIZED (
    SELECT coalesce(host, '') AS host, thread_id, instance_id, last_sequence_num, context_percent,
        CASE WHEN metadata ? 'captured' THEN interval '1 minute' ELSE interval '0' END AS grace
    FROM supervisor_sessions
    WHERE status <> 'closed' AND superseded_by IS NULL
        AND (coalesce(host, ''), thread_id) > (%(after_host)s::text, %(after_thread)s::uuid)
    ORDER BY coalesce(host, ''), thread_id
    LIMIT %(page)s
), told AS (
    SELECT p.instance_id, p.last_sequence_num, p.grace,
        coalesce(c.sequence_num, 0) AS saved, p.last_sequence_num - coalesce(c.sequence_num, 0) AS unsaved,
        c.context_window_percent AS saved_percent,
        coalesce(e.percent, CASE WHEN p.grace = interval '0' THEN p.context_percent END) AS percent, e.fell,
        coalesce(e.crossed_at, '-infinity') AS crossed_at, e.completed_at, e.last_at
    FROM page p
    LEFT JOIN LATERAL (
        SELECT k.sequence_num, k.context_window_percent FROM checkpoints k
        WHERE k.instance_id = p.instance_id
        ORDER BY k.sequence_num DESC LIMIT 1
    ) c ON true
    LEFT JOIN LATERAL (
        SELECT (array_agg(t.percent ORDER BY t.sequence_num DESC) FILTER (WHERE t.percent IS NOT NULL))[1] AS percent,
            bool_or(t.event_type = 'context_compacted' OR t.percent < %(threshold)s::integer) AS fell,
            max(t.timestamp) FILTER (WHERE t.percent >= %(threshold)s::integer) AS crossed_at,
            max(t.timestamp) FILTER (WHERE t.event_type = 'epic_completed') AS completed_at,
            max(t.timestamp) AS last_at
        FROM (
            SELECT v.sequence_num, v.event_type, v.timestamp, CASE
                WHEN v.event_type <> 'context_window_updated' THEN NULL
                WHEN jsonb_typeof(v.event_data -> 'percent') = 'number' THEN (v.event_data ->> 'percent')::numeric
                WHEN jsonb_typeof(v.event_data -> 'context_percent') = 'number'
                    THEN (v.event_data ->> 'context_percent')::numeric
                END AS percent
            FROM event_store v
            WHERE p.last_sequence_num > coalesce(c.sequence_num, 0)
                AND v.instance_id = p.instance_id AND v.sequence_num > coalesce(c.sequence_num, 0)
            ORDER BY v.sequence_num DESC LIMIT 1000
        ) t
    ) e ON true
), due AS (
    SELECT instance_id, last_sequence_num, saved, least(greatest(round(percent), 0), 100)::integer AS percent,
        CASE
            WHEN completed_at <= now() - grace THEN 'epic completed'
            WHEN percent >= %(threshold)s::integer AND crossed_at <= now() - grace
                AND (saved_percent IS NULL OR saved_percent < %(threshold)s::integer OR fell) THEN 'context threshold'
            WHEN unsaved >= %(most_events)s::integer AND grace = interval '0' THEN 'many events'
            WHEN unsaved > 0 AND last_sequence_num > 1 AND last_at < now() - %(idle_after)s::interval THEN 'idle'
        END AS cause
    FROM told
)
SELECT instance_id, last_sequence_num, saved, percent, cause, NULL AS looked_at, NULL AS host, NULL::uuid AS thread_id
FROM due WHERE cause IS NOT NULL
UNION ALL
(SELECT NULL, NULL, NULL, NULL, NULL, (SELECT count(*) FROM page), host, thread_id FROM page
ORDER BY host DESC, thread_id DESC LIMIT 1);
