-- fragment: archive_columns
a.archive_id, a.project, a.state, a.host, a.folder, a.format, a.sessions, a.events, a.commands, a.checkpoints,
a.rows_kept, a.bytes, a.manifest_sha256, a.created_at, a.touched_at

-- name: get_archive
-- One archive by its id.
SELECT {archive_columns} FROM archives a WHERE a.archive_id = %(archive_id)s;

-- name: list_archives
-- Archives, latest first: of a project, or those that hold rows of a session.
SELECT {archive_columns} FROM archives a
WHERE (%(project)s::text IS NULL OR a.project = %(project)s)
    AND (%(instance_id)s::text IS NULL OR a.archive_id IN (
        SELECT x.archive_id FROM archived_sessions x WHERE x.instance_id = %(instance_id)s))
    AND (a.created_at, a.archive_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s)
ORDER BY a.created_at DESC, a.archive_id DESC
LIMIT %(limit)s;

-- name: list_unfinished_archives
-- Archives of a folder that were begun and not finished, or deleted: what a killed run may have left.
SELECT {archive_columns} FROM archives a
WHERE a.host = %(host)s AND a.folder = %(folder)s AND a.state IN ('writing', 'written')
ORDER BY a.created_at;

-- name: list_archived_sessions
-- The sessions of an archive.
SELECT archive_id, instance_id, events, commands, checkpoints, first_sequence_num, last_sequence_num, restored_at,
    erased_at
FROM archived_sessions WHERE archive_id = %(archive_id)s ORDER BY instance_id;

-- name: find_archived_events
-- The archives that hold events of a session up to a number that are not in the table.
SELECT a.archive_id, a.state FROM archived_sessions x JOIN archives a USING (archive_id)
WHERE x.instance_id = %(instance_id)s AND x.events > 0 AND x.restored_at IS NULL AND a.state <> 'writing'
    AND x.first_sequence_num <= coalesce(%(until)s::bigint, 9223372036854775807)
    AND x.last_sequence_num > %(after)s::bigint
ORDER BY x.first_sequence_num, a.archive_id;

-- name: find_unerased_archives
-- Archives that still hold content of sessions that were forgotten: of these sessions, or of all.
SELECT x.archive_id, x.instance_id, a.host, a.folder FROM archived_sessions x JOIN archives a USING (archive_id)
WHERE x.erased_at IS NULL AND a.state IN ('written', 'finished')
    AND (%(instance_ids)s::text[] IS NULL OR x.instance_id = ANY (%(instance_ids)s::text[]))
    AND EXISTS (
        SELECT FROM supervisor_sessions s WHERE s.instance_id = x.instance_id AND s.metadata ? 'forgotten')
ORDER BY x.archive_id, x.instance_id;

-- name: find_session_archives
-- Where rows of some sessions are archived and were not erased.
SELECT DISTINCT a.archive_id, a.host, a.folder FROM archived_sessions x JOIN archives a USING (archive_id)
WHERE x.instance_id = ANY (%(instance_ids)s::text[]) AND x.erased_at IS NULL AND a.state <> 'deleted'
ORDER BY a.archive_id;
