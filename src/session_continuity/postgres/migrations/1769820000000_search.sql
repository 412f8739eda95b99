-- Search: a vector of words for each session, event, command and latest checkpoint, filled by a service and never on
-- the way of a write. The words are what stands between the punctuation marks of ASCII, so that tests/test_500.py is
-- found by test_500; one function makes them of what is stored and of what is asked. The texts stay where they are.
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion

-- migrate:up
CREATE OR REPLACE FUNCTION search_vector(body text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_tsvector('pg_catalog.simple'::regconfig,
        regexp_replace(left(body, 20000), '[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+', ' ', 'g'))
$$;

CREATE TABLE IF NOT EXISTS search_documents (
    document_id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    instance_id text NOT NULL,
    reference bigint NOT NULL,
    at timestamptz NOT NULL,
    is_final boolean NOT NULL DEFAULT true,
    words tsvector NOT NULL,
    CONSTRAINT search_documents_pkey PRIMARY KEY (instance_id, kind, reference),
    CONSTRAINT search_documents_kind_enum CHECK (kind = ANY ('{session,event,command,checkpoint}'::text[]))
);
CREATE INDEX IF NOT EXISTS search_documents_words ON search_documents USING gin (words) WITH (fastupdate = off);
CREATE INDEX IF NOT EXISTS search_documents_unfinished ON search_documents (reference) WHERE NOT is_final;

CREATE TABLE IF NOT EXISTS search_cursors (
    instance_id text NOT NULL,
    sequence_num bigint NOT NULL DEFAULT 0,
    checkpoint_num bigint NOT NULL DEFAULT 0,
    CONSTRAINT search_cursors_pkey PRIMARY KEY (instance_id)
);
CREATE TABLE IF NOT EXISTS search_progress (
    name text NOT NULL,
    command_id bigint NOT NULL,
    CONSTRAINT search_progress_pkey PRIMARY KEY (name)
);

-- After the report's rollback plan the tables are new, and their numbers begin anew.
DELETE FROM search_documents;
DELETE FROM search_cursors;
DELETE FROM search_progress;

-- What is forgotten or deleted is found no more. No foreign key: the report counts three of the registry.
CREATE OR REPLACE FUNCTION drop_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM public.search_documents d WHERE d.instance_id = OLD.instance_id;
    DELETE FROM public.search_cursors c WHERE c.instance_id = OLD.instance_id AND TG_OP = 'DELETE';
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER drop_forgotten_words AFTER UPDATE OF metadata ON supervisor_sessions
    FOR EACH ROW WHEN (NEW.metadata ? 'forgotten') EXECUTE FUNCTION drop_words();
CREATE OR REPLACE TRIGGER drop_deleted_words AFTER DELETE ON supervisor_sessions
    FOR EACH ROW EXECUTE FUNCTION drop_words();

GRANT SELECT, INSERT, UPDATE, DELETE ON search_documents, search_cursors, search_progress
    TO supervisor, continuity_writer;
GRANT USAGE, SELECT ON SEQUENCE search_documents_document_id_seq TO supervisor;
GRANT USAGE ON SEQUENCE search_documents_document_id_seq TO continuity_writer;

-- migrate:down
DROP TRIGGER IF EXISTS drop_deleted_words ON supervisor_sessions;
DROP TRIGGER IF EXISTS drop_forgotten_words ON supervisor_sessions;
DROP FUNCTION IF EXISTS drop_words();
DROP TABLE IF EXISTS search_progress;
DROP TABLE IF EXISTS search_cursors;
DROP TABLE IF EXISTS search_documents;
DROP FUNCTION IF EXISTS search_vector(text);
