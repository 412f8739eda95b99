-- Services: which process does what is done once for the whole fleet, and what each pass did.
-- A lease is a row, not an advisory lock: behind a pooler in transaction mode two clients get the same lock.
-- The lease spares work; what a service changes is guarded by each statement's own conditions.
-- Heartbeats: buckets of ten minutes in place of five halve what moving to the next one costs, with a beat every 30
-- seconds a third of the write-ahead log of all heartbeats.
-- squawk-ignore-file adding-field-with-default, require-concurrent-index-creation, require-concurrent-index-deletion
-- The registry is small beside what it registers: its rewrite takes a second for some 100,000 sessions.

-- migrate:up
CREATE TABLE IF NOT EXISTS service_leases (
    name text NOT NULL,
    holder text NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    acquired_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT service_leases_pkey PRIMARY KEY (name)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS service_passes (
    pass_id uuid NOT NULL,
    service text NOT NULL,
    holder text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    done bigint NOT NULL,
    report jsonb NOT NULL DEFAULT '{}',
    error text,
    CONSTRAINT service_passes_pkey PRIMARY KEY (pass_id),
    CONSTRAINT service_passes_done_range CHECK (done >= 0)
);
CREATE INDEX IF NOT EXISTS service_passes_service ON service_passes (service, finished_at DESC);

ALTER TABLE supervisor_sessions
    ADD COLUMN process_seen_at timestamptz,
    DROP COLUMN heartbeat_bucket;
ALTER TABLE supervisor_sessions ADD COLUMN heartbeat_bucket timestamptz NOT NULL
    GENERATED ALWAYS AS (date_bin('10 minutes', last_heartbeat, '2000-01-01 00:00:00+00')) STORED;
CREATE INDEX supervisor_sessions_project_heartbeat ON supervisor_sessions (project, heartbeat_bucket DESC);
CREATE INDEX supervisor_sessions_heartbeat ON supervisor_sessions (heartbeat_bucket DESC);
CREATE INDEX supervisor_sessions_active_heartbeat
    ON supervisor_sessions (heartbeat_bucket DESC) WHERE status = 'active';
CREATE INDEX supervisor_sessions_declared_heartbeat
    ON supervisor_sessions (heartbeat_bucket DESC)
    WHERE status = 'active' AND heartbeat_interval_seconds IS NOT NULL;
-- For those who look at each session that may still run, of one host or of all; a thread has one. Not by instance id:
-- the planner would take it for the primary key.
CREATE INDEX supervisor_sessions_running
    ON supervisor_sessions ((coalesce(host, '')), thread_id) WHERE status <> 'closed' AND superseded_by IS NULL;

GRANT UPDATE (process_seen_at) ON supervisor_sessions TO continuity_writer;
GRANT SELECT, INSERT, UPDATE ON service_leases TO supervisor, continuity_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON service_passes TO supervisor, continuity_writer;

-- migrate:down
ALTER TABLE supervisor_sessions
    DROP COLUMN process_seen_at,
    DROP COLUMN heartbeat_bucket;
ALTER TABLE supervisor_sessions ADD COLUMN heartbeat_bucket timestamptz NOT NULL
    GENERATED ALWAYS AS (date_bin('5 minutes', last_heartbeat, '2000-01-01 00:00:00+00')) STORED;
DROP INDEX IF EXISTS supervisor_sessions_running;
CREATE INDEX supervisor_sessions_project_heartbeat ON supervisor_sessions (project, heartbeat_bucket DESC);
CREATE INDEX supervisor_sessions_heartbeat ON supervisor_sessions (heartbeat_bucket DESC);
CREATE INDEX supervisor_sessions_active_heartbeat
    ON supervisor_sessions (heartbeat_bucket DESC) WHERE status = 'active';
DROP TABLE IF EXISTS service_passes;
DROP TABLE IF EXISTS service_leases;
