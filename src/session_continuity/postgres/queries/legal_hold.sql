-- name: set_legal_hold
-- Puts a session on hold or takes it off.
UPDATE supervisor_sessions SET legal_hold = %(legal_hold)s WHERE instance_id = %(instance_id)s
RETURNING {session_columns};
