-- What the overview asks for and no index served: the stale and the closed sessions by their latest heartbeat, and
-- the slow commands (report: commands over 5 seconds). All are partial: no heartbeat and no quick command touches one.
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion

-- migrate:up
CREATE INDEX IF NOT EXISTS supervisor_sessions_stale_heartbeat
    ON supervisor_sessions (heartbeat_bucket DESC) WHERE status = 'stale';
CREATE INDEX IF NOT EXISTS supervisor_sessions_closed_heartbeat
    ON supervisor_sessions (heartbeat_bucket DESC) WHERE status = 'closed';
CREATE INDEX IF NOT EXISTS command_log_slow ON command_log (created_at DESC) WHERE execution_time_ms > 5000;

-- migrate:down
DROP INDEX IF EXISTS command_log_slow;
DROP INDEX IF EXISTS supervisor_sessions_closed_heartbeat;
DROP INDEX IF EXISTS supervisor_sessions_stale_heartbeat;
