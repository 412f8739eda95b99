-- Sessions by the process that runs them, for whoever watches that process or lives with it.
-- Only what still runs is in the index; a heartbeat changes none of its columns.
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion
-- A migration is one transaction, and the index holds few rows.

-- migrate:up
CREATE INDEX IF NOT EXISTS supervisor_sessions_process
    ON supervisor_sessions (host, pid) WHERE superseded_by IS NULL AND status <> 'closed';

-- migrate:down
DROP INDEX IF EXISTS supervisor_sessions_process;
