-- fragment: checkpoint_columns
checkpoint_id, instance_id, checkpoint_type, sequence_num, context_window_percent, work_state, metadata, timestamp,
created_at, state_hash, schema_version

-- name: take_checkpoint
-- A checkpoint and its event, if the stream is still where the state was folded.
WITH head AS (
    UPDATE supervisor_sessions SET last_sequence_num = last_sequence_num + 1
    WHERE instance_id = %(instance_id)s AND superseded_by IS NULL AND last_sequence_num = %(expected)s
    RETURNING last_sequence_num, owner_epoch, context_percent
), created AS (
    INSERT INTO event_store (
        event_id, instance_id, event_type, sequence_num, event_data, timestamp, created_at, owner_epoch
    )
    SELECT %(event_id)s::uuid, %(instance_id)s, 'checkpoint_created', head.last_sequence_num, %(event_data)s::jsonb,
        coalesce(%(timestamp)s::timestamptz, now()), coalesce(%(timestamp)s::timestamptz, now()), head.owner_epoch
    FROM head
)
INSERT INTO checkpoints (
    checkpoint_id, instance_id, checkpoint_type, sequence_num, context_window_percent, work_state, metadata,
    timestamp, created_at, owner_epoch, state_hash, schema_version
)
SELECT %(event_id)s::uuid, %(instance_id)s, %(checkpoint_type)s, head.last_sequence_num,
    coalesce(%(context_window_percent)s::integer, head.context_percent), %(work_state)s::jsonb, %(metadata)s::jsonb,
    coalesce(%(timestamp)s::timestamptz, now()), coalesce(%(timestamp)s::timestamptz, now()), head.owner_epoch,
    %(state_hash)s::bytea, %(schema_version)s
FROM head
RETURNING checkpoint_id, instance_id, checkpoint_type, sequence_num, context_window_percent, metadata, timestamp,
    created_at, state_hash, schema_version;

-- name: recover
-- The latest checkpoint that can be folded on, then the first page of the events after it.
WITH base AS MATERIALIZED (
    SELECT checkpoint_id, sequence_num, work_state, state_hash
    FROM checkpoints
    WHERE instance_id = %(instance_id)s AND state_hash IS NOT NULL AND schema_version = %(schema_version)s
        AND sequence_num <= coalesce(%(until)s::bigint, 9223372036854775807)
    ORDER BY sequence_num DESC
    LIMIT 1
)
SELECT checkpoint_id, state_hash, NULL AS event_type, sequence_num, work_state
FROM base
UNION ALL
(SELECT NULL, NULL, e.event_type, e.sequence_num, e.event_data
FROM event_store e
WHERE e.instance_id = %(instance_id)s AND e.sequence_num > (SELECT base.sequence_num FROM base)
    AND e.sequence_num <= coalesce(%(until)s::bigint, 9223372036854775807)
ORDER BY e.sequence_num
LIMIT %(page)s);

-- name: read_folded
-- Of a session's events in order just what the work state is made of.
SELECT instance_id, event_type, sequence_num, event_data
FROM event_store
WHERE instance_id = %(instance_id)s
    AND sequence_num > %(after)s
    AND sequence_num <= coalesce(%(until)s::bigint, 9223372036854775807)
ORDER BY sequence_num
LIMIT %(limit)s;

-- name: number_at
-- The last event of a session up to a time.
SELECT max(sequence_num) FROM event_store WHERE instance_id = %(instance_id)s AND timestamp <= %(as_of)s;

-- name: get_checkpoint
-- One checkpoint by its id.
SELECT {checkpoint_columns} FROM checkpoints WHERE checkpoint_id = %(checkpoint_id)s;

-- name: latest_checkpoint
-- The latest checkpoint of a session by sequence number.
SELECT {checkpoint_columns} FROM checkpoints
WHERE instance_id = %(instance_id)s
ORDER BY sequence_num DESC, created_at DESC
LIMIT 1;

-- name: list_checkpoints
-- Checkpoints, latest first.
SELECT {checkpoint_columns} FROM checkpoints
WHERE (%(instance_id)s::text IS NULL OR instance_id = %(instance_id)s)
    AND (%(checkpoint_type)s::text IS NULL OR checkpoint_type = %(checkpoint_type)s)
    AND (%(projects)s::text[] IS NULL OR instance_id IN (
        SELECT s.instance_id FROM supervisor_sessions s WHERE s.project = ANY(%(projects)s)
    ))
    AND (created_at, checkpoint_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s::uuid)
ORDER BY created_at DESC, checkpoint_id DESC
LIMIT %(limit)s;
