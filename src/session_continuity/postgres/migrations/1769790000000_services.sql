-- Services: which process does what is done once for the whole fleet, and what each pass did.
-- A lease is a row, not an advisory lock: behind a pooler in transaction mode two clients get the same lock.
-- The lease spares work; what a service changes is guarded by each statement's own conditions.

-- migrate:up
CREATE TABLE service_leases (
    name text NOT NULL,
    holder text NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    acquired_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT service_leases_pkey PRIMARY KEY (name)
) WITH (fillfactor = 50);

CREATE TABLE service_passes (
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
CREATE INDEX service_passes_service ON service_passes (service, finished_at DESC);

GRANT SELECT, INSERT, UPDATE ON service_leases TO supervisor, continuity_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON service_passes TO supervisor, continuity_writer;

-- migrate:down
DROP TABLE IF EXISTS service_passes;
DROP TABLE IF EXISTS service_leases;
