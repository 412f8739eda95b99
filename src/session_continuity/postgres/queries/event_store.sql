-- name: append_event
-- One event: fence, expected number and allocation are one update of the session's row.
WITH head AS (
    UPDATE supervisor_sessions SET last_sequence_num = last_sequence_num + 1
    WHERE instance_id = %(instance_id)s AND superseded_by IS NULL
        AND last_sequence_num = coalesce(%(expected)s::bigint, last_sequence_num)
    RETURNING last_sequence_num, owner_epoch
)
INSERT INTO event_store (
    event_id, instance_id, event_type, sequence_num, event_data, metadata, timestamp, created_at, owner_epoch
)
SELECT %(event_id)s, %(instance_id)s, %(event_type)s, head.last_sequence_num, %(event_data)s::jsonb,
    %(metadata)s::jsonb, coalesce(%(timestamp)s::timestamptz, now()), coalesce(%(timestamp)s::timestamptz, now()),
    head.owner_epoch
FROM head
RETURNING sequence_num;

-- name: append_events
-- Many events of one session: as append_event, the numbers in the order given.
WITH head AS (
    UPDATE supervisor_sessions SET last_sequence_num = last_sequence_num + %(count)s
    WHERE instance_id = %(instance_id)s AND superseded_by IS NULL
        AND last_sequence_num = coalesce(%(expected)s::bigint, last_sequence_num)
    RETURNING last_sequence_num - %(count)s AS base, owner_epoch
)
INSERT INTO event_store (
    event_id, instance_id, event_type, sequence_num, event_data, metadata, timestamp, created_at, owner_epoch
)
SELECT e.event_id, %(instance_id)s, e.event_type, head.base + e.part, e.event_data::jsonb,
    coalesce(e.metadata::jsonb, '{}'),
    coalesce(e.happened_at, now()), coalesce(e.happened_at, now()), head.owner_epoch
FROM head, unnest(
    %(event_ids)b::uuid[], %(event_types)b::text[], %(event_data)b::text[], %(metadata)b::text[],
    %(timestamps)b::timestamptz[]
) WITH ORDINALITY AS e (event_id, event_type, event_data, metadata, happened_at, part)
RETURNING sequence_num;

-- name: append_events_of_many
-- Events of several sessions: each session's row is locked in one order, fenced sessions are left out.
WITH given AS MATERIALIZED (
    SELECT e.*, row_number() OVER (PARTITION BY e.instance_id ORDER BY e.part) AS place
    FROM unnest(
        %(instance_ids)b::text[], %(event_ids)b::uuid[], %(event_types)b::text[], %(event_data)b::text[],
        %(metadata)b::text[], %(timestamps)b::timestamptz[]
    ) WITH ORDINALITY AS e (instance_id, event_id, event_type, event_data, metadata, happened_at, part)
), locked AS MATERIALIZED (
    SELECT s.instance_id FROM supervisor_sessions s
    WHERE s.instance_id IN (SELECT instance_id FROM given) AND s.superseded_by IS NULL
    ORDER BY s.instance_id
    FOR NO KEY UPDATE
), head AS (
    UPDATE supervisor_sessions s SET last_sequence_num = s.last_sequence_num + counted.events
    FROM (SELECT g.instance_id, count(*) AS events FROM given g JOIN locked USING (instance_id) GROUP BY 1) counted
    WHERE s.instance_id = counted.instance_id
    RETURNING s.instance_id, s.last_sequence_num - counted.events AS base, s.owner_epoch
)
INSERT INTO event_store (
    event_id, instance_id, event_type, sequence_num, event_data, metadata, timestamp, created_at, owner_epoch
)
SELECT g.event_id, g.instance_id, g.event_type, head.base + g.place, g.event_data::jsonb,
    coalesce(g.metadata::jsonb, '{}'),
    coalesce(g.happened_at, now()), coalesce(g.happened_at, now()), head.owner_epoch
FROM given g JOIN head USING (instance_id)
ORDER BY g.part
RETURNING event_id, sequence_num;

-- name: find_event
-- Events by their ids.
SELECT event_id, instance_id, sequence_num FROM event_store WHERE event_id = ANY(%(event_ids)s::uuid[]);

-- name: compare_events
-- Which of the events are stored already, by their place in the call from 0, and whether with the same body.
SELECT g.part - 1, e.sequence_num,
    e.instance_id = %(instance_id)s AND e.event_type = g.event_type AND e.event_data = g.event_data::jsonb
        AND e.metadata = coalesce(g.metadata::jsonb, '{}')
FROM unnest(
    %(event_ids)b::uuid[], %(event_types)b::text[], %(event_data)b::text[], %(metadata)b::text[],
    %(timestamps)b::timestamptz[]
) WITH ORDINALITY AS g (event_id, event_type, event_data, metadata, happened_at, part)
JOIN event_store e ON e.event_id = g.event_id
ORDER BY g.part;

-- name: read_events
-- A session's events in order.
SELECT event_id, instance_id, event_type, sequence_num, event_data, metadata, timestamp, created_at, owner_epoch
FROM event_store
WHERE instance_id = %(instance_id)s
    AND sequence_num > %(after)s
    AND sequence_num <= coalesce(%(until)s::bigint, 9223372036854775807)
    AND (%(as_of)s::timestamptz IS NULL OR sequence_num <= (
        SELECT max(e.sequence_num) FROM event_store e
        WHERE e.instance_id = %(instance_id)s AND e.timestamp <= %(as_of)s
    ))
    AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s)
ORDER BY sequence_num
LIMIT %(limit)s;

-- name: find_events
-- Events of one type over all sessions, latest first.
SELECT event_id, instance_id, event_type, sequence_num, event_data, metadata, timestamp, created_at, owner_epoch
FROM event_store
WHERE event_type = %(event_type)s
    AND timestamp >= coalesce(%(since)s::timestamptz, '-infinity')
    AND (timestamp, event_id) < (coalesce(%(before)s::timestamptz, 'infinity'), %(before_id)s::uuid)
    AND (%(project)s::text IS NULL OR instance_id IN (
        SELECT instance_id FROM supervisor_sessions WHERE project = %(project)s
    ))
    AND (%(projects)s::text[] IS NULL OR instance_id IN (
        SELECT instance_id FROM supervisor_sessions WHERE project = ANY(%(projects)s)
    ))
ORDER BY timestamp DESC, event_id DESC
LIMIT %(limit)s;
