-- Alerts: what a rule found, once for as long as it lasts. The partial unique index is what makes it once: any number
-- of processes may evaluate the rules. What they were delivered to is kept, so that each channel hears each once.
-- Samples of the tables' sizes, one in an hour, tell how they grow.
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion

-- migrate:up
CREATE TABLE IF NOT EXISTS alerts (
    alert_id uuid NOT NULL DEFAULT gen_random_uuid(),
    rule text NOT NULL,
    subject text NOT NULL,
    project text,
    severity text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    raised_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    CONSTRAINT alerts_pkey PRIMARY KEY (alert_id),
    CONSTRAINT alerts_severity_enum CHECK (severity = ANY ('{warning,critical}'::text[]))
);
CREATE UNIQUE INDEX IF NOT EXISTS alerts_open ON alerts (rule, subject) WHERE resolved_at IS NULL;
CREATE INDEX IF NOT EXISTS alerts_raised ON alerts (raised_at DESC, alert_id DESC);
CREATE INDEX IF NOT EXISTS alerts_resolved ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS alert_deliveries (
    alert_id uuid NOT NULL,
    channel text NOT NULL,
    news text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    error text,
    CONSTRAINT alert_deliveries_pkey PRIMARY KEY (alert_id, channel, news),
    CONSTRAINT alert_deliveries_alert_id_fkey
        FOREIGN KEY (alert_id) REFERENCES alerts (alert_id) ON DELETE CASCADE,
    CONSTRAINT alert_deliveries_news_enum CHECK (news = ANY ('{raised,resolved}'::text[]))
);
CREATE INDEX IF NOT EXISTS alert_deliveries_due ON alert_deliveries (channel, next_attempt_at)
    WHERE delivered_at IS NULL;

CREATE TABLE IF NOT EXISTS storage_samples (
    relation text NOT NULL,
    hour timestamptz NOT NULL,
    sampled_at timestamptz NOT NULL DEFAULT now(),
    bytes bigint NOT NULL,
    CONSTRAINT storage_samples_pkey PRIMARY KEY (relation, hour)
);

CREATE INDEX IF NOT EXISTS command_log_late ON command_log (created_at DESC) WHERE late;

GRANT SELECT, INSERT, UPDATE, DELETE ON alerts, alert_deliveries, storage_samples TO supervisor, continuity_writer;

-- migrate:down
DROP INDEX IF EXISTS command_log_late;
DROP TABLE IF EXISTS storage_samples;
DROP TABLE IF EXISTS alert_deliveries;
DROP TABLE IF EXISTS alerts;
