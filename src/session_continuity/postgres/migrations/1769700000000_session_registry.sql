-- Session registry: one row for every incarnation of an agent.
-- The heartbeat indexes are kept on five-minute buckets of last_heartbeat: a heartbeat inside its bucket
-- changes no indexed column, so it stays a heap-only update; the order by bucket, last_heartbeat is the
-- order by last_heartbeat. The index of the active ones keeps the search for silent sessions from reading
-- through the closed ones.

-- migrate:up
CREATE TABLE supervisor_sessions (
    instance_id text NOT NULL,
    project text NOT NULL,
    instance_type text NOT NULL,
    status text NOT NULL DEFAULT 'active',
    context_percent integer,
    current_epic text,
    last_heartbeat timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    heartbeat_bucket timestamptz NOT NULL
        GENERATED ALWAYS AS (date_bin('5 minutes', last_heartbeat, '2000-01-01 00:00:00+00')) STORED,
    CONSTRAINT supervisor_sessions_pkey PRIMARY KEY (instance_id),
    CONSTRAINT supervisor_sessions_instance_id_format
        CHECK (instance_id ~ '^[a-z0-9][a-z0-9-]*-(PS|MS)-[a-z0-9]{6}$'),
    -- Times that every client can read back.
    CONSTRAINT supervisor_sessions_time_range CHECK (
        last_heartbeat > '0001-01-02 00:00:00+00' AND last_heartbeat < '9999-12-30 00:00:00+00'
        AND created_at > '0001-01-02 00:00:00+00' AND created_at < '9999-12-30 00:00:00+00'
    ),
    CONSTRAINT supervisor_sessions_context_percent_range CHECK (context_percent BETWEEN 0 AND 100),
    CONSTRAINT supervisor_sessions_instance_type_enum CHECK (instance_type = ANY ('{PS,MS}'::text[])),
    CONSTRAINT supervisor_sessions_status_enum CHECK (status = ANY ('{active,stale,closed}'::text[]))
) WITH (fillfactor = 50);

CREATE INDEX supervisor_sessions_project_heartbeat
    ON supervisor_sessions (project, heartbeat_bucket DESC);
CREATE INDEX supervisor_sessions_heartbeat
    ON supervisor_sessions (heartbeat_bucket DESC);
CREATE INDEX supervisor_sessions_active_heartbeat
    ON supervisor_sessions (heartbeat_bucket DESC) WHERE status = 'active';
CREATE INDEX supervisor_sessions_project_status
    ON supervisor_sessions (project, status);

-- migrate:down
DROP TABLE IF EXISTS supervisor_sessions CASCADE;
