-- Tombstones: deleting a session cascades, but never in silence, and not while it is held.

-- migrate:up
CREATE TABLE IF NOT EXISTS session_tombstones (
    instance_id text NOT NULL,
    project text NOT NULL,
    thread_id uuid NOT NULL,
    owner_epoch bigint NOT NULL,
    events bigint NOT NULL,
    commands bigint NOT NULL,
    checkpoints bigint NOT NULL,
    last_sequence_num bigint NOT NULL,
    deleted_by text NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS session_tombstones_instance ON session_tombstones (instance_id);

CREATE OR REPLACE FUNCTION bury_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.legal_hold THEN
        RAISE EXCEPTION 'session % is under legal hold', OLD.instance_id
            USING ERRCODE = 'raise_exception', CONSTRAINT = 'supervisor_sessions_legal_hold',
                  HINT = 'Lift the hold first.';
    END IF;
    INSERT INTO public.session_tombstones (
        instance_id, project, thread_id, owner_epoch, events, commands, checkpoints, last_sequence_num, deleted_by
    ) VALUES (
        OLD.instance_id, OLD.project, OLD.thread_id, OLD.owner_epoch,
        (SELECT count(*) FROM public.event_store e WHERE e.instance_id = OLD.instance_id),
        (SELECT count(*) FROM public.command_log c WHERE c.instance_id = OLD.instance_id),
        (SELECT count(*) FROM public.checkpoints k WHERE k.instance_id = OLD.instance_id),
        OLD.last_sequence_num, session_user
    );
    RETURN OLD;
END $$;
CREATE TRIGGER bury_session BEFORE DELETE ON supervisor_sessions
    FOR EACH ROW EXECUTE FUNCTION bury_session();

-- migrate:down
DROP TRIGGER IF EXISTS bury_session ON supervisor_sessions;
DROP FUNCTION IF EXISTS bury_session();
DROP TABLE IF EXISTS session_tombstones;
