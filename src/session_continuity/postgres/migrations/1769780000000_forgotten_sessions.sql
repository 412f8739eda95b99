-- Forgetting: a session's content is erased, its row stays and says so. Only the report's role and the owner may.
-- The row is fenced by itself: superseded_by names the session, so that nothing is written to it again.
-- squawk-ignore-file adding-field-with-default
-- Tombstones are few, and a constant default rewrites nothing.

-- migrate:up
ALTER TABLE session_tombstones ADD COLUMN IF NOT EXISTS forgotten boolean NOT NULL DEFAULT false;

CREATE OR REPLACE FUNCTION forget_session(forgotten_instance text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    session record;
BEGIN
    SELECT * INTO session FROM public.supervisor_sessions s WHERE s.instance_id = forgotten_instance FOR UPDATE;
    IF NOT FOUND OR session.metadata ? 'forgotten' THEN
        RETURN false;
    END IF;
    IF session.legal_hold THEN
        RAISE EXCEPTION 'session % is under legal hold', forgotten_instance
            USING ERRCODE = 'raise_exception', CONSTRAINT = 'supervisor_sessions_legal_hold',
                  HINT = 'Lift the hold first.';
    END IF;
    INSERT INTO public.session_tombstones (
        instance_id, project, thread_id, owner_epoch, events, commands, checkpoints, last_sequence_num, deleted_by,
        forgotten
    ) VALUES (
        session.instance_id, session.project, session.thread_id, session.owner_epoch,
        (SELECT count(*) FROM public.event_store e WHERE e.instance_id = forgotten_instance),
        (SELECT count(*) FROM public.command_log c WHERE c.instance_id = forgotten_instance),
        (SELECT count(*) FROM public.checkpoints k WHERE k.instance_id = forgotten_instance),
        session.last_sequence_num, session_user, true
    );
    DELETE FROM public.event_store e WHERE e.instance_id = forgotten_instance;
    DELETE FROM public.command_log c WHERE c.instance_id = forgotten_instance;
    DELETE FROM public.checkpoints k WHERE k.instance_id = forgotten_instance;
    UPDATE public.supervisor_sessions s SET
        status = 'closed', closed_at = coalesce(s.closed_at, now()),
        superseded_by = coalesce(s.superseded_by, s.instance_id),
        current_epic = NULL, host = NULL, pid = NULL, cwd = NULL, git_branch = NULL, git_head = NULL,
        metadata = jsonb_build_object('forgotten', now())
    WHERE s.instance_id = forgotten_instance;
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION forget_session(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_session(text) TO supervisor;

-- The same fence, but for the moment of forgetting, which erases the epic of a fenced session, too.
DROP TRIGGER refuse_fenced_heartbeat ON supervisor_sessions;
CREATE TRIGGER refuse_fenced_heartbeat
    AFTER UPDATE OF
        status, last_heartbeat, context_percent, current_epic, last_sequence_num, superseded_by ON supervisor_sessions
    FOR EACH ROW WHEN (OLD.superseded_by IS NOT NULL AND (
        NEW.status <> 'closed'
        OR NEW.last_heartbeat IS DISTINCT FROM OLD.last_heartbeat
        OR NEW.context_percent IS DISTINCT FROM OLD.context_percent
        OR (NEW.current_epic IS DISTINCT FROM OLD.current_epic
            AND NOT (NEW.metadata ? 'forgotten' AND NOT OLD.metadata ? 'forgotten'))
        OR NEW.last_sequence_num IS DISTINCT FROM OLD.last_sequence_num
        OR NEW.superseded_by IS DISTINCT FROM OLD.superseded_by
    )) EXECUTE FUNCTION refuse_fenced_heartbeat();

-- migrate:down
DROP TRIGGER IF EXISTS refuse_fenced_heartbeat ON supervisor_sessions;
CREATE TRIGGER refuse_fenced_heartbeat
    AFTER UPDATE OF
        status, last_heartbeat, context_percent, current_epic, last_sequence_num, superseded_by ON supervisor_sessions
    FOR EACH ROW WHEN (OLD.superseded_by IS NOT NULL AND (
        NEW.status <> 'closed'
        OR NEW.last_heartbeat IS DISTINCT FROM OLD.last_heartbeat
        OR NEW.context_percent IS DISTINCT FROM OLD.context_percent
        OR NEW.current_epic IS DISTINCT FROM OLD.current_epic
        OR NEW.last_sequence_num IS DISTINCT FROM OLD.last_sequence_num
        OR NEW.superseded_by IS DISTINCT FROM OLD.superseded_by
    )) EXECUTE FUNCTION refuse_fenced_heartbeat();
DROP FUNCTION IF EXISTS forget_session(text);
ALTER TABLE session_tombstones DROP COLUMN IF EXISTS forgotten;
