-- Checkpoints: resumable work states.
-- States are stored uncompressed: saving one is half as dear again with compression, loading is not.

-- migrate:up
CREATE TABLE checkpoints (
    checkpoint_id uuid NOT NULL DEFAULT gen_random_uuid(),
    instance_id text NOT NULL,
    checkpoint_type text NOT NULL,
    sequence_num bigint NOT NULL,
    context_window_percent integer,
    work_state jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    timestamp timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT checkpoints_pkey PRIMARY KEY (checkpoint_id),
    CONSTRAINT checkpoints_instance_id_fkey
        FOREIGN KEY (instance_id) REFERENCES supervisor_sessions (instance_id) ON DELETE CASCADE,
    CONSTRAINT checkpoints_checkpoint_type_enum CHECK (checkpoint_type IN ('manual', 'automatic')),
    CONSTRAINT checkpoints_time_range CHECK (
        timestamp > '0001-01-02 00:00:00+00' AND timestamp < '9999-12-30 00:00:00+00'
        AND created_at > '0001-01-02 00:00:00+00' AND created_at < '9999-12-30 00:00:00+00'
    ),
    CONSTRAINT checkpoints_sequence_num_range CHECK (sequence_num >= 1),
    CONSTRAINT checkpoints_context_window_percent_range CHECK (context_window_percent BETWEEN 0 AND 100)
);
ALTER TABLE checkpoints ALTER COLUMN work_state SET STORAGE EXTERNAL;

CREATE INDEX checkpoints_instance_timestamp ON checkpoints (instance_id, timestamp DESC);
CREATE INDEX checkpoints_type_created ON checkpoints (checkpoint_type, created_at DESC);
CREATE INDEX checkpoints_instance_sequence ON checkpoints (instance_id, sequence_num DESC);

-- migrate:down
DROP TABLE IF EXISTS checkpoints CASCADE;
