-- name: may_connect
-- Whether a role was granted the right to connect, itself and not as everybody is.
SELECT FROM pg_database d
CROSS JOIN LATERAL aclexplode(d.datacl) AS g
JOIN pg_roles r ON r.oid = g.grantee
WHERE d.datname = %(database)s AND r.rolname = %(role)s AND g.privilege_type = 'CONNECT';

-- name: delete_session
-- Everything of one session, by whoever may delete; a tombstone stays.
DELETE FROM supervisor_sessions WHERE instance_id = %(instance_id)s RETURNING instance_id;
