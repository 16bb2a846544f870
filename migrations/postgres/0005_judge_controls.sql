-- Whether the judge was shown a shortened input.
ALTER TABLE evaluation ADD COLUMN truncated BIGINT NOT NULL DEFAULT 0;

-- What judges made of their control questions, by day (days since the Unix epoch).
CREATE TABLE judge_control (
    evaluator TEXT   NOT NULL,
    revision  TEXT   NOT NULL,
    day       BIGINT NOT NULL,
    caught    BIGINT NOT NULL,
    missed    BIGINT NOT NULL,
    PRIMARY KEY (evaluator, revision, day)
);
CREATE INDEX judge_control_day ON judge_control (day);
