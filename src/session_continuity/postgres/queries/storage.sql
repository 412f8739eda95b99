-- name: get_storage
-- Each table of the product: its size, rows as the server estimates them, and how it grows by the kept samples.
SELECT c.relname, pg_table_size(c.oid), pg_indexes_size(c.oid), greatest(0, c.reltuples)::bigint,
    coalesce(s.n_dead_tup, 0), greatest(s.last_vacuum, s.last_autovacuum), g.bytes_per_day
FROM pg_class c
LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
LEFT JOIN LATERAL (
    SELECT (pg_total_relation_size(c.oid) - bytes)
        / (extract(epoch FROM now() - sampled_at)::float8 / 86400) AS bytes_per_day
    FROM storage_samples
    WHERE relation = c.relname AND hour > now() - interval '7 days' AND sampled_at < now() - interval '6 hours'
    ORDER BY hour LIMIT 1
) g ON true
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
ORDER BY pg_total_relation_size(c.oid) DESC, c.relname;

-- name: get_index_use
-- Each index of the product: its size and how often it was used since the statistics began.
SELECT t.relname, i.relname, pg_relation_size(i.oid), coalesce(s.idx_scan, 0), x.indisvalid, x.indisunique
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.oid
WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r'
ORDER BY pg_relation_size(i.oid) DESC, i.relname;

-- name: get_database_figures
-- The database as a whole: its size, its connections by state, and how long its oldest transaction runs.
SELECT current_setting('server_version'), pg_database_size(current_database()),
    current_setting('max_connections')::integer,
    (SELECT coalesce(jsonb_object_agg(coalesce(state, 'of other roles'), count), '{}') FROM (
        SELECT state, count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND coalesce(backend_type, 'client backend') = 'client backend'
        GROUP BY state) states),
    (SELECT coalesce(extract(epoch FROM max(now() - xact_start)), 0)::float8 FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()),
    (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database());

-- name: get_slowest_commands
-- The slowest commands of the last day.
SELECT instance_id, id, coalesce(tool_name, command_type), action, execution_time_ms, created_at
FROM command_log WHERE execution_time_ms > 5000 AND created_at > now() - interval '1 day'
ORDER BY execution_time_ms DESC LIMIT %(limit)s;

-- name: has_query_statistics
-- Whether the extension pg_stat_statements is there and the server has loaded it.
SELECT to_regclass('pg_stat_statements') IS NOT NULL AND current_setting('pg_stat_statements.max', true) IS NOT NULL;

-- name: get_slowest_queries
-- The queries on this database with the longest mean time.
SELECT left(s.query, 2000), s.calls, s.mean_exec_time, s.max_exec_time
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database() AND s.query IS NOT NULL
ORDER BY s.mean_exec_time DESC LIMIT %(limit)s;

-- name: sample_storage
-- One sample of each table's size in an hour; those of long ago make room.
WITH dropped AS (DELETE FROM storage_samples WHERE hour < now() - interval '90 days')
INSERT INTO storage_samples (relation, hour, bytes)
SELECT c.relname, date_trunc('hour', now()), pg_total_relation_size(c.oid)
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
ON CONFLICT (relation, hour) DO NOTHING
RETURNING relation;
