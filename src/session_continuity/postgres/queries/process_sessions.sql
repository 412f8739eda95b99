-- name: find_process_sessions
-- The sessions that a process runs: neither closed nor taken over.
SELECT {session_columns} FROM supervisor_sessions
WHERE host = %(host)s AND pid = %(pid)s AND superseded_by IS NULL AND status <> 'closed'
    AND metadata -> 'process' = %(process)s::jsonb
ORDER BY created_at, instance_id
LIMIT %(limit)s;
