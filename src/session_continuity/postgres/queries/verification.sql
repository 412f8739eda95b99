-- name: describe_tables
-- The report's tables: size, indexes, and foreign keys that cascade, from and to each.
SELECT t.name, pg_total_relation_size(c.oid), greatest(c.reltuples, 0)::bigint,
    (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid),
    (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confdeltype = 'c' AND k.convalidated),
    (SELECT count(*) FROM pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.confdeltype = 'c' AND k.convalidated)
FROM unnest(ARRAY['supervisor_sessions', 'command_log', 'event_store', 'checkpoints'])
    WITH ORDINALITY AS t (name, part)
LEFT JOIN pg_class c ON c.oid = to_regclass('public.' || t.name)
ORDER BY t.part;

-- name: describe_privileges
-- What a role may do with the tables and sequences, however it came by it; column grants are named one by one.
SELECT r.rolname, c.relname,
    ARRAY(
        SELECT p.privilege FROM unnest(%(table_privileges)s::text[]) AS p (privilege)
        WHERE c.relkind = 'r' AND has_table_privilege(r.oid, c.oid, p.privilege)
        UNION ALL
        SELECT p.privilege FROM unnest(ARRAY['SELECT', 'UPDATE', 'USAGE']) AS p (privilege)
        WHERE c.relkind = 'S' AND has_sequence_privilege(r.oid, c.oid, p.privilege)
        UNION ALL
        SELECT concat(p.privilege, ' (', a.attname, ')')
        FROM pg_attribute a, unnest(ARRAY['INSERT', 'REFERENCES', 'SELECT', 'UPDATE']) AS p (privilege)
        WHERE c.relkind = 'r' AND a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND has_column_privilege(r.oid, c.oid, a.attnum, p.privilege)
            AND NOT has_table_privilege(r.oid, c.oid, p.privilege)
        ORDER BY 1
    )
FROM pg_roles r, pg_class c
WHERE r.rolname = ANY(%(roles)s) AND c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%(relations)s)
ORDER BY r.rolname, array_position(%(relations)s, c.relname::text);

-- name: describe_roles
-- What a role may do beyond tables: its attributes, the server's predefined roles, the schema.
SELECT r.rolname, array_remove(ARRAY[
    CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
    CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
    CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN r.rolreplication THEN 'REPLICATION' END,
    CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
    CASE WHEN has_schema_privilege(r.oid, 'public', 'CREATE') THEN 'CREATE ON SCHEMA public' END,
    CASE WHEN has_schema_privilege(r.oid, 'public', 'USAGE') THEN 'USAGE ON SCHEMA public' END
], NULL) || ARRAY(
    SELECT m.rolname::text FROM pg_roles m
    WHERE starts_with(m.rolname, 'pg_') AND NOT r.rolsuper AND pg_has_role(r.oid, m.oid, 'MEMBER') ORDER BY m.rolname
)
FROM pg_roles r WHERE r.rolname = ANY(%(roles)s) ORDER BY r.rolname;

-- name: describe_triggers
-- The triggers that guard the records, and whether they fire for everybody.
SELECT t.name, CASE WHEN g.oid IS NULL THEN 'missing' WHEN g.tgenabled IN ('O', 'A') THEN 'enabled' ELSE 'disabled' END
FROM (VALUES
    ('bury_session', 'supervisor_sessions'), ('refuse_fenced_heartbeat', 'supervisor_sessions'),
    ('admit_plain_event', 'event_store'), ('admit_plain_checkpoint', 'checkpoints'), ('admit_plain_command', 'command_log')
) AS t (name, relation)
LEFT JOIN pg_trigger g ON g.tgname = t.name AND g.tgrelid = to_regclass('public.' || t.relation)
ORDER BY t.name;

-- name: describe_durability
-- The settings without which an acknowledged write can be lost, here and where a role or database overrides them.
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')
UNION ALL
SELECT concat(split_part(o.setting, '=', 1), ' of role ', coalesce(r.rolname, 'any')), split_part(o.setting, '=', 2)
FROM pg_db_role_setting s
CROSS JOIN LATERAL unnest(s.setconfig) AS o (setting)
LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
    AND starts_with(o.setting, 'synchronous_commit=')
ORDER BY 1;

-- name: check_session
-- The report's "Register a Session".
INSERT INTO supervisor_sessions (
  instance_id, project, instance_type, status, context_percent, current_epic
) VALUES (
  %(instance_id)s, 'consilio-s', %(instance_type)s, 'active', %(context_percent)s, 'epic-001'
);

-- name: check_command
-- The report's "Log a Command".
INSERT INTO command_log (
  instance_id, command_type, action, tool_name, success, execution_time_ms, parameters, result
) VALUES (
  %(instance_id)s, 'task', 'spawn_subagent', 'general-purpose', true, 1250,
  '{"task":"implementation"}'::jsonb,
  '{"spawned_id":"task-001"}'::jsonb
) RETURNING id;

-- name: check_event
-- The report's "Store an Event".
INSERT INTO event_store (
  instance_id, event_type, sequence_num, event_data
) VALUES (
  %(instance_id)s, 'epic_started', 1, '{"epic_id":"001","epic_name":"authentication"}'::jsonb
) RETURNING event_id;

-- name: check_checkpoint
-- The report's "Create a Checkpoint".
INSERT INTO checkpoints (
  instance_id, checkpoint_type, sequence_num, context_window_percent, work_state
) VALUES (
  %(instance_id)s, 'manual', 1, 45,
  '{"epic":"001","phase":"implementation","elapsed_minutes":30}'::jsonb
) RETURNING work_state ->> 'phase';

-- name: check_relationships
-- The report's "Full session timeline".
SELECT
  e.sequence_num,
  e.event_type,
  c.action as last_command,
  cp.context_window_percent
FROM event_store e
LEFT JOIN command_log c ON c.instance_id = e.instance_id
LEFT JOIN checkpoints cp ON cp.instance_id = e.instance_id
WHERE e.instance_id = %(instance_id)s
ORDER BY e.sequence_num;

-- name: check_delete
-- What the cascade has to follow.
DELETE FROM supervisor_sessions WHERE instance_id = %(instance_id)s;

-- name: check_left_over
-- Rows of a session in all tables.
SELECT
    (SELECT count(*) FROM supervisor_sessions WHERE instance_id = %(instance_id)s)
    + (SELECT count(*) FROM event_store WHERE instance_id = %(instance_id)s)
    + (SELECT count(*) FROM command_log WHERE instance_id = %(instance_id)s)
    + (SELECT count(*) FROM checkpoints WHERE instance_id = %(instance_id)s);

-- name: sample_sessions
-- Rows for a copy of the table: many projects, one session in twenty active.
INSERT INTO supervisor_sessions (instance_id, project, instance_type, status, last_heartbeat)
SELECT 'sample-PS-' || lpad(n::text, 6, '0'), 'sample-' || mod(n, 83), 'PS',
    CASE WHEN mod(n, 20) = 0 THEN 'active' ELSE 'closed' END, now() - n * interval '1 minute'
FROM generate_series(1, 2000) n;

-- name: sample_commands
-- Rows for a copy of the table: few sessions with many commands each.
INSERT INTO command_log (id, instance_id, command_type, action, success, created_at)
SELECT n, 'sample-PS-' || lpad(mod(n, 7)::text, 6, '0'), 'task', 'sample', mod(n, 20) <> 0, now() - n * interval '1 second'
FROM generate_series(1, 2000) n;

-- name: sample_events
-- Rows for a copy of the table: few sessions with many events each, one event in a hundred ends an epic.
INSERT INTO event_store (instance_id, event_type, sequence_num, timestamp, created_at)
SELECT 'sample-PS-' || lpad(mod(n, 7)::text, 6, '0'),
    CASE WHEN mod(n, 100) = 0 THEN 'epic_completed' ELSE 'task_spawned' END, n,
    now() - n * interval '1 second', now() - n * interval '1 second'
FROM generate_series(1, 2000) n;

-- name: sample_checkpoints
-- Rows for a copy of the table: few sessions with many checkpoints each, one in twenty manual.
INSERT INTO checkpoints (instance_id, checkpoint_type, sequence_num, timestamp, created_at)
SELECT 'sample-PS-' || lpad(mod(n, 7)::text, 6, '0'), CASE WHEN mod(n, 20) = 0 THEN 'manual' ELSE 'automatic' END, n,
    now() - n * interval '1 second', now() - n * interval '1 second'
FROM generate_series(1, 2000) n;

-- name: describe_indexes
-- The valid indexes of a schema's tables, by what they are rather than what they are called.
SELECT c.relname, i.relname,
    (CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END) || split_part(pg_get_indexdef(x.indexrelid), ' USING ', 2)
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class c ON c.oid = x.indrelid
WHERE c.relnamespace = CASE WHEN %(copies)s THEN pg_my_temp_schema() ELSE 'public'::regnamespace END
    AND x.indisvalid AND c.relname = ANY(%(relations)s)
ORDER BY i.oid;

-- name: find_command
-- One command by the report's key.
SELECT instance_id, command_type, action, success FROM command_log WHERE id = %(command_id)s;

-- name: find_latest_events
-- The latest events of all sessions.
SELECT instance_id, event_type, sequence_num, timestamp FROM event_store ORDER BY timestamp DESC LIMIT %(limit)s;

-- name: prevent_duplicate
-- An event whose number may be taken.
INSERT INTO event_store (instance_id, event_type, sequence_num)
VALUES (%(instance_id)s, 'epic_started', 1)
ON CONFLICT (instance_id, sequence_num) DO NOTHING;
