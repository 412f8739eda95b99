-- name: record_action
-- One entry; the same id again changes nothing.
INSERT INTO audit_actions (action_id, person, via, action, subject, details)
VALUES (%(action_id)s::uuid, %(person)s, %(via)s, %(action)s, %(subject)s, %(details)s::jsonb)
ON CONFLICT (action_id) DO NOTHING
RETURNING action_id;

-- name: list_actions
-- Entries by time, the latest first.
SELECT action_id, at, person, via, action, subject, details FROM audit_actions
WHERE (%(subject)s::text IS NULL OR subject = %(subject)s)
    AND (at, action_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s::uuid)
    AND (%(projects)s::text[] IS NULL OR EXISTS (
        SELECT FROM supervisor_sessions s WHERE s.instance_id = subject AND s.project = ANY(%(projects)s)))
ORDER BY at DESC, action_id DESC LIMIT %(limit)s;
