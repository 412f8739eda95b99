-- name: get_context_points
-- How full a session's context was, with its compactions and checkpoints; of many points of a kind every n-th.
SELECT event_type, sequence_num, timestamp, percent FROM (
    SELECT event_type, sequence_num, timestamp,
        CASE WHEN jsonb_typeof(event_data -> 'percent') = 'number' THEN event_data -> 'percent'
            WHEN jsonb_typeof(event_data -> 'context_percent') = 'number' THEN event_data -> 'context_percent'
        END AS percent,
        row_number() OVER (PARTITION BY event_type ORDER BY sequence_num) AS place,
        count(*) OVER (PARTITION BY event_type) AS of_kind
    FROM event_store
    WHERE instance_id = %(instance_id)s
        AND event_type IN ('context_window_updated', 'context_compacted', 'checkpoint_created')
) points
WHERE mod(place, greatest(1, of_kind / %(most)s::integer)) = 0
ORDER BY sequence_num;

-- name: get_check_points
-- Which tests and validations of a session passed and failed; of many every n-th.
SELECT event_type, sequence_num, timestamp, coalesce(event_data ->> 'command', event_data ->> 'name', '') FROM (
    SELECT event_type, sequence_num, timestamp, event_data,
        row_number() OVER (ORDER BY sequence_num) AS place, count(*) OVER () AS of_kind
    FROM event_store
    WHERE instance_id = %(instance_id)s
        AND event_type IN ('test_passed', 'test_failed', 'validation_passed', 'validation_failed')
) points
WHERE mod(place, greatest(1, of_kind / %(most)s::integer)) = 0
ORDER BY sequence_num;

-- name: get_tool_figures
-- A session's commands by tool, the most used first: how many, how many failed, how long they took.
SELECT coalesce(tool_name, command_type) AS tool, count(*),
    count(*) FILTER (WHERE coalesce(outcome, CASE success WHEN false THEN 'failure' END) = 'failure'),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY execution_time_ms),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY execution_time_ms),
    sum(execution_time_ms)::bigint
FROM command_log WHERE instance_id = %(instance_id)s
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(most)s;
