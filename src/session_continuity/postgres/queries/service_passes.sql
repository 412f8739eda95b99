-- name: record_pass
-- One pass. The holder's earlier passes that did nothing, and what is beyond the last thousand, make room for it.
WITH dropped AS (
    DELETE FROM service_passes
    WHERE service = %(service)s::text AND pass_id <> %(pass_id)s::uuid AND (
        (holder = %(holder)s::text AND done = 0 AND error IS NULL)
        OR finished_at <= (
            SELECT p.finished_at FROM service_passes p WHERE p.service = %(service)s::text
            ORDER BY p.finished_at DESC OFFSET 1000 LIMIT 1
        )
    )
)
INSERT INTO service_passes (pass_id, service, holder, started_at, done, report, error)
VALUES (
    %(pass_id)s::uuid, %(service)s::text, %(holder)s::text, now() - make_interval(secs => %(seconds)s::float8),
    %(done)s::bigint, %(report)s::jsonb, %(error)s::text
)
ON CONFLICT (pass_id) DO UPDATE SET done = excluded.done
RETURNING service, holder, started_at, finished_at, done, report, error;

-- name: list_services
-- Each service that ever ran, who holds its lease now, and its last pass; later ones are of a clock that was set back.
SELECT n.name, CASE WHEN l.expires_at > now() THEN l.holder END, l.epoch, l.expires_at,
    p.service, p.holder, p.started_at, p.finished_at, p.done, p.report, p.error
FROM (SELECT name FROM service_leases UNION SELECT service FROM service_passes) AS n (name)
LEFT JOIN service_leases l ON l.name = n.name
LEFT JOIN LATERAL (
    SELECT service, holder, started_at, finished_at, done, report, error
    FROM service_passes latest
    WHERE latest.service = n.name AND latest.finished_at <= now()
    ORDER BY latest.finished_at DESC LIMIT 1
) p ON true
ORDER BY n.name;
