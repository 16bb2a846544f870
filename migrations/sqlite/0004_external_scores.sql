-- What other tools and people scored, of traces that may not be known yet. The key is a hash of what makes two of them
-- the same; the span is empty where the whole run was scored.
CREATE TABLE external_score (
    trace_id       BLOB   NOT NULL,
    key            BLOB   NOT NULL,
    span_id        BLOB   NOT NULL,
    name           TEXT   NOT NULL,
    annotator_kind TEXT   NOT NULL,
    source         TEXT   NOT NULL,
    value          DOUBLE,
    label          TEXT,
    explanation    TEXT,
    error          TEXT,
    scored_at      BIGINT NOT NULL,
    PRIMARY KEY (trace_id, key)
);
-- Which of them are no shares.
CREATE INDEX external_score_unbounded ON external_score (annotator_kind, name) WHERE value < 0 OR value > 1;

-- How much of a trace is kept, how many of its pieces are not, and how long its next version waits: a trace that grows
-- without end may take neither the disk nor the workers.
ALTER TABLE pending ADD COLUMN stored_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN left_out BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN not_before BIGINT NOT NULL DEFAULT 0;
ALTER TABLE trace ADD COLUMN stored_bytes BIGINT NOT NULL DEFAULT 0;
