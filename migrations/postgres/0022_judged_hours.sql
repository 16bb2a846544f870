-- Hours with judgements that are over. State 1: the sums hold; 2: they are being made, for the begun-th time; 0: a judgement
-- of the hour has changed since.
CREATE TABLE judged_hour (
    hour  BIGINT NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL,
    begun BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX judged_hour_unsummed ON judged_hour (hour) WHERE state <> 1;

-- What judges said in each of these hours of traces that nobody labelled. A draw of -1 is none.
CREATE TABLE judged_sum (
    hour             BIGINT NOT NULL,
    evaluator        TEXT   NOT NULL,
    revision         TEXT   NOT NULL,
    passed           BIGINT NOT NULL,
    draw_probability DOUBLE PRECISION NOT NULL,
    is_drawn         BIGINT NOT NULL,
    judgements       BIGINT NOT NULL,
    weight           DOUBLE PRECISION NOT NULL,
    weight_squared   DOUBLE PRECISION NOT NULL,
    upstream_unknown BIGINT NOT NULL,
    PRIMARY KEY (hour, evaluator, revision, passed, draw_probability, is_drawn)
);
