-- Types: ids are bytes, instants are nanoseconds since the Unix epoch, flags are 0 or 1, JSON is text.
-- The PostgreSQL file beside this one holds the same tables, columns and indices in the same order.

-- What was received, kept until the trace's body is purged. One row for each piece with its own content.
CREATE TABLE chunk (
    trace_id     BLOB   NOT NULL,
    content_hash BLOB   NOT NULL,
    arrived_at   BIGINT NOT NULL,
    span_count   BIGINT NOT NULL,
    body         BLOB   NOT NULL,
    PRIMARY KEY (trace_id, content_hash)
);

-- Traces that wait for completion or evaluation. The generation counts what arrived, so that a worker that
-- read less than there is cannot close the trace.
CREATE TABLE pending (
    trace_id      BLOB   NOT NULL PRIMARY KEY,
    first_seen_at BIGINT NOT NULL,
    last_seen_at  BIGINT NOT NULL,
    due_at        BIGINT NOT NULL,
    root_ended    BIGINT NOT NULL,
    generation    BIGINT NOT NULL,
    attempts      BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL
);
CREATE INDEX pending_due ON pending (due_at, trace_id);

-- Evaluated traces, one row each, of the newest version.
CREATE TABLE trace (
    trace_id        BLOB   NOT NULL PRIMARY KEY,
    version         BIGINT NOT NULL,
    root_span_id    BLOB   NOT NULL,
    service         TEXT   NOT NULL,
    release         TEXT,
    model           TEXT,
    environment     TEXT,
    conversation_id TEXT,
    user_id         TEXT,
    started_at      BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,
    recorded_at     BIGINT NOT NULL,
    failing         BIGINT NOT NULL,
    error           BIGINT NOT NULL,
    sampled         BIGINT NOT NULL,
    keep_body_until BIGINT NOT NULL,
    body_purged     BIGINT NOT NULL,
    decision        TEXT   NOT NULL,
    record          TEXT   NOT NULL
);
CREATE INDEX trace_ended ON trace (ended_at, trace_id);
CREATE INDEX trace_service_ended ON trace (service, ended_at, trace_id);
CREATE INDEX trace_failing ON trace (ended_at, trace_id) WHERE failing = 1;
CREATE INDEX trace_conversation ON trace (conversation_id, ended_at) WHERE conversation_id IS NOT NULL;
CREATE INDEX trace_user ON trace (user_id, ended_at) WHERE user_id IS NOT NULL;
CREATE INDEX trace_body ON trace (keep_body_until) WHERE body_purged = 0;

-- Searchable names of a trace.
CREATE TABLE trace_attribute (
    trace_id BLOB NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (trace_id, name)
);
CREATE INDEX trace_attribute_value ON trace_attribute (name, value, trace_id);

-- One row for every (trace, evaluator revision).
CREATE TABLE evaluation (
    trace_id       BLOB   NOT NULL,
    evaluator      TEXT   NOT NULL,
    revision       TEXT   NOT NULL,
    trace_version  BIGINT NOT NULL,
    span_id        BLOB   NOT NULL,
    annotator_kind TEXT   NOT NULL,
    outcome        TEXT   NOT NULL,
    value          DOUBLE,
    label          TEXT,
    explanation    TEXT,
    probability    DOUBLE NOT NULL,
    evaluated_at   BIGINT NOT NULL,
    PRIMARY KEY (trace_id, evaluator, revision)
);

-- Planned judgements; a claim moves due_at to the end of its lease.
CREATE TABLE judge_job (
    trace_id      BLOB   NOT NULL,
    evaluator     TEXT   NOT NULL,
    revision      TEXT   NOT NULL,
    trace_version BIGINT NOT NULL,
    probability   DOUBLE NOT NULL,
    ended_at      BIGINT NOT NULL,
    due_at        BIGINT NOT NULL,
    attempts      BIGINT NOT NULL,
    last_error    TEXT,
    PRIMARY KEY (trace_id, evaluator, revision)
);
CREATE INDEX judge_job_due ON judge_job (due_at);
CREATE INDEX judge_job_ended ON judge_job (ended_at);

-- What waits to be sent; a claim moves due_at to the end of its lease, a delivery deletes the row.
CREATE TABLE outbox (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    destination TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    payload     BLOB    NOT NULL,
    due_at      BIGINT  NOT NULL,
    attempts    BIGINT  NOT NULL,
    last_error  TEXT,
    UNIQUE (destination, key)
);
CREATE INDEX outbox_due ON outbox (destination, due_at, id);

-- Hours of a service that have traces; watched_at is set when the detectors have consumed the hour.
CREATE TABLE service_hour (
    service    TEXT   NOT NULL,
    hour       BIGINT NOT NULL,
    watched_at BIGINT,
    traces     BIGINT,
    summary    TEXT,
    PRIMARY KEY (service, hour)
);
CREATE INDEX service_hour_unwatched ON service_hour (hour, service) WHERE watched_at IS NULL;

CREATE TABLE detector_state (
    service TEXT NOT NULL PRIMARY KEY,
    state   TEXT NOT NULL
);

CREATE TABLE alert (
    fingerprint TEXT   NOT NULL PRIMARY KEY,
    service     TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    severity    TEXT   NOT NULL,
    raised_at   BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    alert       TEXT   NOT NULL
);
CREATE INDEX alert_service ON alert (service, raised_at);

CREATE TABLE baseline (
    name       TEXT   NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL,
    selection  TEXT   NOT NULL,
    summary    TEXT   NOT NULL
);
