-- Roles: the report's supervisor keeps its grants; continuity_writer is what the product itself runs as.
-- Roles belong to the whole server, so they outlive a downgrade of one database.

-- migrate:up
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['supervisor', 'continuity_writer'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- made by a migration of another database at the same moment
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % does not exist and % may not create it', wanted, current_user
                    USING HINT = format('Ask an administrator for: CREATE ROLE %I NOLOGIN', wanted);
        END;
    END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON supervisor_sessions TO supervisor;
GRANT SELECT, INSERT, UPDATE, DELETE ON command_log TO supervisor;
GRANT SELECT, INSERT, UPDATE, DELETE ON event_store TO supervisor;
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO supervisor;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO supervisor;
GRANT SELECT ON session_tombstones, schema_migrations TO supervisor;
GRANT USAGE ON SCHEMA public TO supervisor, continuity_writer;

GRANT SELECT ON
    supervisor_sessions, command_log, event_store, checkpoints, session_tombstones, schema_migrations
TO continuity_writer;
GRANT INSERT ON supervisor_sessions, command_log, event_store, checkpoints TO continuity_writer;
GRANT UPDATE (
    status, context_percent, current_epic, last_heartbeat, closed_at, superseded_by, last_sequence_num,
    harness_session_id, host, pid, cwd, git_branch, git_head, heartbeat_interval_seconds, metadata
) ON supervisor_sessions TO continuity_writer;
GRANT UPDATE (
    result, success, error_message, execution_time_ms, tags, context_data, outcome, late
) ON command_log TO continuity_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO continuity_writer;

-- migrate:down
REVOKE ALL ON supervisor_sessions, command_log, event_store, checkpoints, session_tombstones, schema_migrations
    FROM supervisor, continuity_writer;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM supervisor, continuity_writer;
REVOKE ALL ON SCHEMA public FROM supervisor, continuity_writer;
