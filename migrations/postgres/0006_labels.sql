-- What people say of judged traces: a log to which rows are only ever added.
CREATE TABLE label (
    id          BYTEA  NOT NULL PRIMARY KEY,
    trace_id    BYTEA  NOT NULL,
    evaluator   TEXT   NOT NULL,
    revision    TEXT,
    label       TEXT   NOT NULL,
    reviewer    TEXT   NOT NULL,
    note        TEXT,
    labelled_at BIGINT NOT NULL,
    origin      TEXT   NOT NULL,
    probability DOUBLE PRECISION
);
CREATE INDEX label_item ON label (evaluator, trace_id);

-- Which judged traces were drawn for the audit sample, and with what probability each could have been.
CREATE TABLE review_draw (
    trace_id    BYTEA  NOT NULL,
    evaluator   TEXT   NOT NULL,
    revision    TEXT   NOT NULL,
    probability DOUBLE PRECISION NOT NULL,
    is_drawn    BIGINT NOT NULL,
    drawn_at    BIGINT NOT NULL,
    PRIMARY KEY (trace_id, evaluator, revision)
);
CREATE INDEX review_draw_drawn ON review_draw (drawn_at, trace_id) WHERE is_drawn = 1;
CREATE INDEX evaluation_judged ON evaluation (evaluated_at, trace_id) WHERE annotator_kind = 'llm' AND outcome = 'scored';

-- Labelled traces that judges are asked about again and again; a claim moves due_at to the end of its lease.
CREATE TABLE anchor (
    trace_id  BYTEA  NOT NULL,
    evaluator TEXT   NOT NULL,
    label     TEXT   NOT NULL,
    due_at    BIGINT NOT NULL,
    PRIMARY KEY (trace_id, evaluator)
);
CREATE INDEX anchor_due ON anchor (due_at);

-- What they said, apart from the scores of traffic.
CREATE TABLE anchor_score (
    trace_id  BYTEA  NOT NULL,
    evaluator TEXT   NOT NULL,
    revision  TEXT   NOT NULL,
    round_at  BIGINT NOT NULL,
    passed    BIGINT NOT NULL,
    reason    TEXT,
    PRIMARY KEY (trace_id, evaluator, revision, round_at)
);
CREATE INDEX anchor_score_round ON anchor_score (evaluator, round_at);
