-- name: hold_leases
-- Takes leases that are free and renews those held. One that ends later than any is given for is a clock's mistake.
INSERT INTO service_leases AS l (name, holder, expires_at)
SELECT n.name, %(holder)s::text, now() + make_interval(secs => %(seconds)s::float8)
FROM unnest(%(names)s::text[]) AS n (name)
ORDER BY n.name
ON CONFLICT (name) DO UPDATE SET
    holder = excluded.holder,
    epoch = l.epoch + CASE WHEN l.holder = excluded.holder AND l.expires_at > now() THEN 0 ELSE 1 END,
    acquired_at = CASE WHEN l.holder = excluded.holder AND l.expires_at > now() THEN l.acquired_at ELSE now() END,
    expires_at = excluded.expires_at
WHERE l.holder = excluded.holder
    OR l.expires_at <= now()
    OR l.expires_at > now() + make_interval(secs => %(longest)s::float8)
RETURNING name, epoch;

-- name: release_leases
-- Gives up what a holder holds, so that another one need not wait for its end.
UPDATE service_leases SET expires_at = now() WHERE holder = %(holder)s AND expires_at > now() RETURNING name;
