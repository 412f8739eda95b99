-- Threads: one line of work over many instances, owned by one of them at a time.
-- superseded_by is the fence: it is set in the transaction that raises the thread's epoch, and every
-- write takes the session's row lock under the condition that it is still null.
-- owner_epoch is null only in rows written by plain SQL; the triggers below give those rows the same rules.
-- The functions name the schema: a temporary table of the same name must not stand in for the registry.
-- squawk-ignore-file constraint-missing-not-valid, disallowed-unique-constraint, adding-field-with-default
-- squawk-ignore-file require-concurrent-index-creation
-- The tables were made a moment before: nothing is in them that would have to be scanned or rewritten.

-- migrate:up
ALTER TABLE supervisor_sessions
    ADD COLUMN thread_id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN owner_epoch bigint NOT NULL DEFAULT 1,
    ADD COLUMN superseded_by text,
    ADD COLUMN last_sequence_num bigint NOT NULL DEFAULT 0,
    ADD COLUMN parent_instance_id text,
    ADD COLUMN parent_sequence_num bigint,
    ADD COLUMN relation text,
    ADD COLUMN harness text,
    ADD COLUMN harness_session_id text,
    ADD COLUMN host text,
    ADD COLUMN pid integer,
    ADD COLUMN cwd text,
    ADD COLUMN git_branch text,
    ADD COLUMN git_head text,
    ADD COLUMN heartbeat_interval_seconds integer,
    ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN legal_hold boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT supervisor_sessions_thread_epoch_key UNIQUE (thread_id, owner_epoch),
    ADD CONSTRAINT supervisor_sessions_relation_enum CHECK (relation = ANY (
        '{spawned,resumed_from,forked_from,handed_off_to,imported_from}'::text[]
    )),
    ADD CONSTRAINT supervisor_sessions_heartbeat_interval_range CHECK (heartbeat_interval_seconds > 0);
UPDATE supervisor_sessions s SET last_sequence_num = e.last_sequence_num
FROM (SELECT instance_id, max(sequence_num) AS last_sequence_num FROM event_store GROUP BY instance_id) e
WHERE e.instance_id = s.instance_id;
CREATE INDEX supervisor_sessions_harness_session
    ON supervisor_sessions (harness_session_id) WHERE harness_session_id IS NOT NULL;
CREATE INDEX supervisor_sessions_parent
    ON supervisor_sessions (parent_instance_id) WHERE parent_instance_id IS NOT NULL;

ALTER TABLE event_store ADD COLUMN owner_epoch bigint;
ALTER TABLE checkpoints
    ADD COLUMN owner_epoch bigint,
    ADD COLUMN state_hash bytea,
    ADD COLUMN schema_version integer;
ALTER TABLE command_log
    ADD COLUMN owner_epoch bigint,
    ADD COLUMN operation_id uuid,
    ADD COLUMN tool_call_id text,
    ADD COLUMN outcome text,
    ADD COLUMN started_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN late boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT command_log_operation_id_key UNIQUE (operation_id),
    ADD CONSTRAINT command_log_outcome_enum CHECK (outcome IN ('success', 'failure', 'unknown', 'cancelled'));
CREATE INDEX command_log_in_flight ON command_log (instance_id, id) WHERE outcome IS NULL AND success IS NULL;

-- Raises the error that the library knows as Fenced.
CREATE OR REPLACE FUNCTION refuse_fenced(fenced_instance text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    successor text;
BEGIN
    SELECT s.superseded_by INTO successor FROM public.supervisor_sessions s WHERE s.instance_id = fenced_instance;
    IF successor IS NOT NULL THEN
        RAISE EXCEPTION 'instance % was taken over by %', fenced_instance, successor
            USING ERRCODE = 'raise_exception', CONSTRAINT = 'supervisor_sessions_fence',
                  HINT = 'Stop writing as this instance.';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION admit_plain_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head record;
BEGIN
    SELECT s.last_sequence_num, s.owner_epoch INTO head FROM public.supervisor_sessions s
    WHERE s.instance_id = NEW.instance_id AND s.superseded_by IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM public.refuse_fenced(NEW.instance_id);
        RETURN NEW;  -- no such session: the foreign key says so
    END IF;
    NEW.sequence_num := coalesce(NEW.sequence_num, head.last_sequence_num + 1);
    NEW.owner_epoch := head.owner_epoch;
    IF NEW.sequence_num <= head.last_sequence_num
        AND (EXISTS (SELECT FROM public.checkpoints c WHERE c.instance_id = NEW.instance_id
                     AND c.state_hash IS NOT NULL AND c.sequence_num >= NEW.sequence_num)
             OR EXISTS (SELECT FROM public.supervisor_sessions f WHERE f.parent_instance_id = NEW.instance_id
                        AND f.parent_sequence_num >= NEW.sequence_num))
        AND NOT EXISTS (SELECT FROM public.event_store e WHERE e.instance_id = NEW.instance_id
                        AND e.sequence_num = NEW.sequence_num) THEN
        RAISE EXCEPTION 'sequence_num % of % lies under a checkpoint or a fork', NEW.sequence_num, NEW.instance_id
            USING ERRCODE = 'raise_exception', CONSTRAINT = 'event_store_under_checkpoint',
                  HINT = format('Use %s or leave sequence_num out.', head.last_sequence_num + 1);
    END IF;
    UPDATE public.supervisor_sessions s SET last_sequence_num = greatest(s.last_sequence_num, NEW.sequence_num)
    WHERE s.instance_id = NEW.instance_id;
    RETURN NEW;
END $$;
CREATE TRIGGER admit_plain_event BEFORE INSERT ON event_store
    FOR EACH ROW WHEN (NEW.owner_epoch IS NULL) EXECUTE FUNCTION admit_plain_event();

CREATE OR REPLACE FUNCTION admit_plain_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT s.owner_epoch INTO NEW.owner_epoch FROM public.supervisor_sessions s
    WHERE s.instance_id = NEW.instance_id AND s.superseded_by IS NULL FOR SHARE;
    IF NOT FOUND THEN
        PERFORM public.refuse_fenced(NEW.instance_id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER admit_plain_checkpoint BEFORE INSERT ON checkpoints
    FOR EACH ROW WHEN (NEW.owner_epoch IS NULL) EXECUTE FUNCTION admit_plain_checkpoint();

-- The audit trail of a fenced copy is kept, marked as late.
CREATE OR REPLACE FUNCTION admit_plain_command() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT s.owner_epoch, s.superseded_by IS NOT NULL INTO NEW.owner_epoch, NEW.late
    FROM public.supervisor_sessions s WHERE s.instance_id = NEW.instance_id;
    NEW.late := coalesce(NEW.late, false);
    RETURN NEW;
END $$;
CREATE TRIGGER admit_plain_command BEFORE INSERT ON command_log
    FOR EACH ROW WHEN (NEW.owner_epoch IS NULL) EXECUTE FUNCTION admit_plain_command();

CREATE OR REPLACE FUNCTION refuse_fenced_heartbeat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'instance % was taken over by %', OLD.instance_id, OLD.superseded_by
        USING ERRCODE = 'raise_exception', CONSTRAINT = 'supervisor_sessions_fence',
              HINT = 'Stop writing as this instance.';
END $$;
-- After and of these columns: a row trigger before an update locks the row once more and computes its bucket
-- anew, for each append.
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

-- migrate:down
DROP TRIGGER IF EXISTS refuse_fenced_heartbeat ON supervisor_sessions;
DROP TRIGGER IF EXISTS admit_plain_command ON command_log;
DROP TRIGGER IF EXISTS admit_plain_checkpoint ON checkpoints;
DROP TRIGGER IF EXISTS admit_plain_event ON event_store;
DROP FUNCTION IF EXISTS
    refuse_fenced_heartbeat(), admit_plain_command(), admit_plain_checkpoint(), admit_plain_event(),
    refuse_fenced(text);
ALTER TABLE command_log
    DROP COLUMN owner_epoch, DROP COLUMN operation_id, DROP COLUMN tool_call_id, DROP COLUMN outcome,
    DROP COLUMN started_at, DROP COLUMN late;
ALTER TABLE checkpoints DROP COLUMN owner_epoch, DROP COLUMN state_hash, DROP COLUMN schema_version;
ALTER TABLE event_store DROP COLUMN owner_epoch;
ALTER TABLE supervisor_sessions
    DROP COLUMN thread_id, DROP COLUMN owner_epoch, DROP COLUMN superseded_by, DROP COLUMN last_sequence_num,
    DROP COLUMN parent_instance_id, DROP COLUMN parent_sequence_num, DROP COLUMN relation,
    DROP COLUMN harness, DROP COLUMN harness_session_id, DROP COLUMN host, DROP COLUMN pid, DROP COLUMN cwd,
    DROP COLUMN git_branch, DROP COLUMN git_head, DROP COLUMN heartbeat_interval_seconds,
    DROP COLUMN metadata, DROP COLUMN legal_hold;
