-- Event store: the ordered stream of state transitions of each session.
-- The index of the unique constraint also serves the ordering by (instance_id, sequence_num).

-- migrate:up
CREATE TABLE event_store (
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    instance_id text NOT NULL,
    event_type text NOT NULL,
    sequence_num bigint NOT NULL,
    event_data jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    timestamp timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT event_store_pkey PRIMARY KEY (event_id),
    CONSTRAINT event_store_instance_id_fkey
        FOREIGN KEY (instance_id) REFERENCES supervisor_sessions (instance_id) ON DELETE CASCADE,
    CONSTRAINT event_store_instance_sequence_key UNIQUE (instance_id, sequence_num),
    CONSTRAINT event_store_time_range CHECK (
        timestamp > '0001-01-02 00:00:00+00' AND timestamp < '9999-12-30 00:00:00+00'
        AND created_at > '0001-01-02 00:00:00+00' AND created_at < '9999-12-30 00:00:00+00'
    ),
    CONSTRAINT event_store_sequence_num_range CHECK (sequence_num >= 1),
    CONSTRAINT event_store_event_type_enum CHECK (event_type IN (
        'instance_registered', 'instance_heartbeat', 'instance_stale',
        'epic_started', 'epic_completed', 'epic_failed', 'epic_planned',
        'test_started', 'test_passed', 'test_failed',
        'validation_passed', 'validation_failed',
        'commit_created', 'pr_created', 'pr_merged',
        'deployment_started', 'deployment_completed', 'deployment_failed',
        'context_window_updated', 'checkpoint_created', 'checkpoint_loaded',
        'feature_requested', 'task_spawned'
    ))
);

CREATE INDEX event_store_instance_created ON event_store (instance_id, created_at DESC);
CREATE INDEX event_store_timestamp ON event_store (timestamp DESC);
CREATE INDEX event_store_type_timestamp ON event_store (event_type, timestamp DESC);

-- migrate:down
DROP TABLE IF EXISTS event_store CASCADE;
