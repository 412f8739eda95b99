-- The report's schema as printed: its tables, constraints and all 16 of its indexes, duplicates included.
CREATE TABLE supervisor_sessions (
    instance_id text PRIMARY KEY CHECK (instance_id ~ '^[a-z0-9][a-z0-9-]*-(PS|MS)-[a-z0-9]{6}$'),
    project text NOT NULL,
    instance_type text NOT NULL CHECK (instance_type IN ('PS', 'MS')),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'stale', 'closed')),
    context_percent integer CHECK (context_percent BETWEEN 0 AND 100),
    current_epic text,
    last_heartbeat timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);
CREATE INDEX ON supervisor_sessions (project, last_heartbeat DESC);
CREATE INDEX ON supervisor_sessions (instance_id);
CREATE INDEX ON supervisor_sessions (last_heartbeat DESC);
CREATE INDEX ON supervisor_sessions (project, status);

CREATE TABLE command_log (
    id bigserial PRIMARY KEY,
    instance_id text NOT NULL REFERENCES supervisor_sessions (instance_id) ON DELETE CASCADE,
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
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON command_log (instance_id, created_at DESC);

CREATE TABLE event_store (
    event_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    instance_id text NOT NULL REFERENCES supervisor_sessions (instance_id) ON DELETE CASCADE,
    event_type text NOT NULL CHECK (event_type IN (
        'instance_registered', 'instance_heartbeat', 'instance_stale', 'epic_started', 'epic_completed',
        'epic_failed', 'epic_planned', 'test_started', 'test_passed', 'test_failed', 'validation_passed',
        'validation_failed', 'commit_created', 'pr_created', 'pr_merged', 'deployment_started',
        'deployment_completed', 'deployment_failed', 'context_window_updated', 'checkpoint_created',
        'checkpoint_loaded', 'feature_requested', 'task_spawned'
    )),
    sequence_num bigint NOT NULL,
    event_data jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    timestamp timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (instance_id, sequence_num)
);
CREATE INDEX ON event_store (instance_id, sequence_num);
CREATE INDEX ON event_store (instance_id, created_at DESC);
CREATE INDEX ON event_store (timestamp DESC);
CREATE INDEX ON event_store (event_type, timestamp DESC);

CREATE TABLE checkpoints (
    checkpoint_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    instance_id text NOT NULL REFERENCES supervisor_sessions (instance_id) ON DELETE CASCADE,
    checkpoint_type text NOT NULL CHECK (checkpoint_type IN ('manual', 'automatic')),
    sequence_num bigint NOT NULL,
    context_window_percent integer,
    work_state jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    timestamp timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON checkpoints (instance_id, timestamp DESC);
CREATE INDEX ON checkpoints (checkpoint_type, created_at DESC);
