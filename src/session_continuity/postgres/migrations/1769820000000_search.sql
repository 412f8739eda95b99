-- Search: a vector of words for each session, event, command and latest checkpoint, filled by a service and never on
-- the way of a write. The words are what stands between the punctuation marks of ASCII, so that tests/test_500.py is
-- found by test_500; one function makes them of what is stored and of what is asked. The texts stay where they are.
-- squawk-ignore-file require-concurrent-index-creation

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
    CONSTRAINT search_documents_instance_id_fkey
        FOREIGN KEY (instance_id) REFERENCES supervisor_sessions (instance_id) ON DELETE CASCADE,
    CONSTRAINT search_documents_kind_enum CHECK (kind = ANY ('{session,event,command,checkpoint}'::text[]))
);
CREATE INDEX IF NOT EXISTS search_documents_words ON search_documents USING gin (words) WITH (fastupdate = off);
CREATE INDEX IF NOT EXISTS search_documents_unfinished ON search_documents (reference) WHERE NOT is_final;

CREATE TABLE IF NOT EXISTS search_cursors (
    instance_id text NOT NULL,
    sequence_num bigint NOT NULL DEFAULT 0,
    checkpoint_num bigint NOT NULL DEFAULT 0,
    CONSTRAINT search_cursors_pkey PRIMARY KEY (instance_id),
    CONSTRAINT search_cursors_instance_id_fkey
        FOREIGN KEY (instance_id) REFERENCES supervisor_sessions (instance_id) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS search_progress (
    name text NOT NULL,
    command_id bigint NOT NULL,
    CONSTRAINT search_progress_pkey PRIMARY KEY (name)
);

-- What is forgotten is found no more; before the next pass could put it back, the row says that it was.
CREATE OR REPLACE FUNCTION drop_forgotten_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM public.search_documents d WHERE d.instance_id = NEW.instance_id;
    RETURN NULL;
END $$;
CREATE TRIGGER drop_forgotten_words AFTER UPDATE OF metadata ON supervisor_sessions
    FOR EACH ROW WHEN (NEW.metadata ? 'forgotten') EXECUTE FUNCTION drop_forgotten_words();

GRANT SELECT, INSERT, UPDATE, DELETE ON search_documents, search_cursors, search_progress
    TO supervisor, continuity_writer;

-- migrate:down
DROP TRIGGER IF EXISTS drop_forgotten_words ON supervisor_sessions;
DROP FUNCTION IF EXISTS drop_forgotten_words();
DROP TABLE IF EXISTS search_progress;
DROP TABLE IF EXISTS search_cursors;
DROP TABLE IF EXISTS search_documents;
DROP FUNCTION IF EXISTS search_vector(text);
