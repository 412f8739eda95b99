-- name: begin_archive
-- Claims the project: there is at most one archive of it at work.
INSERT INTO archives (archive_id, project, host, folder, format)
VALUES (%(archive_id)s, %(project)s, %(host)s, %(folder)s, %(format)s)
ON CONFLICT DO NOTHING
RETURNING archive_id;

-- name: drop_begun_archive
-- An archive that was begun and never written: nothing was deleted for it.
DELETE FROM archives WHERE archive_id = %(archive_id)s AND state = 'writing' RETURNING archive_id;

-- name: release_silent_archives
-- Archives at work of which nothing was heard for long, wherever they are: one that was written is closed as it is,
-- since all that was deleted is in it, and one that was not is dropped.
WITH dropped AS (
    DELETE FROM archives WHERE state = 'writing' AND touched_at < now() - %(silent_for)s::interval RETURNING archive_id
), closed AS (
    UPDATE archives SET state = 'finished'
    WHERE state = 'written' AND touched_at < now() - %(silent_for)s::interval RETURNING archive_id
)
SELECT archive_id FROM dropped UNION ALL SELECT archive_id FROM closed;

-- name: touch_archive
-- Says that the archive is still at work; nothing when it is not any more.
UPDATE archives SET touched_at = now() WHERE archive_id = %(archive_id)s AND state = %(state)s RETURNING archive_id;

-- name: record_written
-- The archive is whole on disk: from here on its rows may be deleted.
UPDATE archives SET
    state = 'written', sessions = %(sessions)s, events = %(events)s, commands = %(commands)s,
    checkpoints = %(checkpoints)s, bytes = %(bytes)s, manifest_sha256 = %(manifest_sha256)s, touched_at = now()
WHERE archive_id = %(archive_id)s AND state = 'writing'
RETURNING archive_id;

-- name: record_archived_sessions
-- Which sessions an archive holds rows of.
INSERT INTO archived_sessions (
    archive_id, instance_id, events, commands, checkpoints, first_sequence_num, last_sequence_num
)
SELECT %(archive_id)s, g.* FROM unnest(
    %(instance_ids)s::text[], %(events)s::bigint[], %(commands)s::bigint[], %(checkpoints)s::bigint[],
    %(firsts)s::bigint[], %(lasts)s::bigint[]) AS g
ON CONFLICT DO NOTHING
RETURNING instance_id;

-- name: finish_archive
-- The rows of the archive are deleted, but for `rows_kept`, which were changed meanwhile or are held.
UPDATE archives SET state = 'finished', rows_kept = %(rows_kept)s, touched_at = now()
WHERE archive_id = %(archive_id)s AND state = 'written'
RETURNING archive_id;

-- name: record_archive_deleted
-- The archive's files are deleted for good, by the policy: the row stays.
UPDATE archives a SET state = 'deleted', touched_at = now()
WHERE a.archive_id = %(archive_id)s AND a.state = 'finished' AND NOT EXISTS (
    SELECT FROM archived_sessions x JOIN supervisor_sessions s USING (instance_id)
    WHERE x.archive_id = a.archive_id AND s.legal_hold)
RETURNING a.archive_id;

-- name: record_erased
-- Sessions whose rows were taken out of an archive, and what the archive is now.
WITH archive AS (
    UPDATE archives SET bytes = %(bytes)s, manifest_sha256 = %(manifest_sha256)s, events = %(events)s,
        commands = %(commands)s, checkpoints = %(checkpoints)s
    WHERE archive_id = %(archive_id)s
)
UPDATE archived_sessions SET erased_at = coalesce(erased_at, now())
WHERE archive_id = %(archive_id)s AND instance_id = ANY (%(instance_ids)s::text[])
RETURNING instance_id;

-- name: record_restored
-- Sessions of an archive whose rows are in the tables again.
UPDATE archived_sessions SET restored_at = now()
WHERE archive_id = %(archive_id)s AND instance_id = ANY (%(instance_ids)s::text[])
RETURNING instance_id;
