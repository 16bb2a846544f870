-- Versions that a trace ran under, beside its release and model; the index counts them without reading the traces.
ALTER TABLE trace ADD COLUMN prompt_version TEXT;
ALTER TABLE trace ADD COLUMN agent_version TEXT;
CREATE INDEX trace_versions ON trace (service, ended_at, release, model, prompt_version, agent_version);

-- Traces of a service in an hour by version; an empty value stands for those that do not tell.
CREATE TABLE version_hour (
    service    TEXT   NOT NULL,
    dimension  TEXT   NOT NULL,
    value      TEXT   NOT NULL,
    hour       BIGINT NOT NULL,
    traces     BIGINT NOT NULL,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    counted_at BIGINT NOT NULL,
    PRIMARY KEY (service, hour, dimension, value)
);
CREATE INDEX version_hour_counted ON version_hour (counted_at);

-- What traces are judged and watched by: one row for each value that a subject has come to have.
CREATE TABLE change_event (
    kind       TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    changed_at BIGINT NOT NULL,
    value      TEXT   NOT NULL,
    PRIMARY KEY (kind, subject, changed_at)
);
