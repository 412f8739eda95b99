-- Archives: which rows were moved into files, and where the files are. A session's row stays in the registry.
-- At most one archive of a project is at work, whatever runs where: so no row is archived twice at the same time.
-- squawk-ignore-file require-concurrent-index-creation, disallowed-unique-constraint
-- The tables were made a moment before: nothing is in them that would have to be scanned.

-- migrate:up
CREATE TABLE IF NOT EXISTS archives (
    archive_id text NOT NULL,
    project text NOT NULL,
    state text NOT NULL DEFAULT 'writing',
    host text NOT NULL,
    folder text NOT NULL,
    format text NOT NULL,
    sessions bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    commands bigint NOT NULL DEFAULT 0,
    checkpoints bigint NOT NULL DEFAULT 0,
    rows_kept bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    manifest_sha256 text,
    created_at timestamptz NOT NULL DEFAULT now(),
    touched_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT archives_pkey PRIMARY KEY (archive_id),
    CONSTRAINT archives_state_enum CHECK (state = ANY ('{writing,written,finished,deleted}'::text[]))
);
CREATE UNIQUE INDEX IF NOT EXISTS archives_one_at_work ON archives (project) WHERE state IN ('writing', 'written');
CREATE INDEX IF NOT EXISTS archives_created ON archives (created_at DESC, archive_id DESC);

CREATE TABLE IF NOT EXISTS archived_sessions (
    archive_id text NOT NULL,
    instance_id text NOT NULL,
    events bigint NOT NULL,
    commands bigint NOT NULL,
    checkpoints bigint NOT NULL,
    first_sequence_num bigint,
    last_sequence_num bigint,
    restored_at timestamptz,
    erased_at timestamptz,
    CONSTRAINT archived_sessions_pkey PRIMARY KEY (archive_id, instance_id),
    CONSTRAINT archived_sessions_archive_id_fkey
        FOREIGN KEY (archive_id) REFERENCES archives (archive_id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS archived_sessions_instance ON archived_sessions (instance_id);

GRANT SELECT ON archives, archived_sessions TO supervisor, continuity_writer;
GRANT INSERT, UPDATE, DELETE ON archives, archived_sessions TO supervisor;

-- The server's own limits are shares of a table (a fifth), so a large table is left alone for long: what an archive
-- removed is not used again, and the pages of a large append-only table are frozen all at once one day.
ALTER TABLE supervisor_sessions SET (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0.05
);
ALTER TABLE event_store SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02
);
ALTER TABLE command_log SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02
);
ALTER TABLE checkpoints SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    toast.autovacuum_vacuum_scale_factor = 0.02
);

-- migrate:down
ALTER TABLE checkpoints RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor, toast.autovacuum_vacuum_scale_factor
);
ALTER TABLE command_log RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor
);
ALTER TABLE event_store RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor
);
ALTER TABLE supervisor_sessions RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_analyze_scale_factor
);
DROP TABLE IF EXISTS archived_sessions;
DROP TABLE IF EXISTS archives;
