-- Command log: the audit trail of every tool call and explicit action.

-- migrate:up
CREATE TABLE command_log (
    id bigserial NOT NULL,
    instance_id text NOT NULL,
    command_type text NOT NULL,
    action text NOT NULL,
    tool_name text,
    parameters jsonb NOT NULL DEFAULT '{}',
    result jsonb,
    success boolean,
    error_message text,
    execution_time_ms bigint,
    tags text[] NOT NULL DEFAULT '{}',
    context_data jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT command_log_pkey PRIMARY KEY (id),
    CONSTRAINT command_log_instance_id_fkey
        FOREIGN KEY (instance_id) REFERENCES supervisor_sessions (instance_id) ON DELETE CASCADE,
    CONSTRAINT command_log_time_range CHECK (
        created_at > '0001-01-02 00:00:00+00' AND created_at < '9999-12-30 00:00:00+00'
    ),
    CONSTRAINT command_log_execution_time_range CHECK (execution_time_ms >= 0)
);

CREATE INDEX command_log_instance_created ON command_log (instance_id, created_at DESC);
CREATE INDEX command_log_failed ON command_log (created_at DESC) WHERE success = false;

-- migrate:down
DROP TABLE IF EXISTS command_log CASCADE;
