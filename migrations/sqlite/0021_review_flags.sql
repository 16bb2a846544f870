-- Whether the judge's own samples gave different verdicts.
ALTER TABLE evaluation ADD COLUMN split BIGINT NOT NULL DEFAULT 0;
CREATE INDEX evaluation_flagged ON evaluation (evaluated_at, trace_id) WHERE outcome = 'scored' AND (value < 0.5 OR split = 1);

-- Evaluations that put their trace before people, and whether it still waits: of each day, service and evaluator the most
-- severe do. The day is the instant at which it begins.
CREATE TABLE review_flag (
    trace_id   BLOB   NOT NULL,
    evaluator  TEXT   NOT NULL,
    revision   TEXT   NOT NULL,
    service    TEXT   NOT NULL,
    day        BIGINT NOT NULL,
    severity   BIGINT NOT NULL,
    is_waiting BIGINT NOT NULL,
    PRIMARY KEY (trace_id, evaluator)
);
CREATE INDEX review_flag_day ON review_flag (day);
CREATE INDEX review_flag_waiting ON review_flag (day) WHERE is_waiting = 1;
