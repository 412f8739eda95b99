-- Audit: what people did to the records, by name. A change and its entry are one transaction; nobody but the owner of
-- the table can alter an entry.

-- migrate:up
CREATE TABLE IF NOT EXISTS audit_actions (
    action_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    person text NOT NULL,
    via text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT audit_actions_pkey PRIMARY KEY (action_id)
);
CREATE INDEX IF NOT EXISTS audit_actions_at ON audit_actions (at DESC, action_id DESC);
CREATE INDEX IF NOT EXISTS audit_actions_subject ON audit_actions (subject, at DESC, action_id DESC);

GRANT SELECT, INSERT ON audit_actions TO supervisor, continuity_writer;

-- migrate:down
DROP TABLE IF EXISTS audit_actions;
