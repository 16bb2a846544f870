-- Which models have answered for a judge model of the settings, as its provider names them: part of judges' revisions.
CREATE TABLE judge_model (
    lane          TEXT   NOT NULL,
    asked         TEXT   NOT NULL,
    answered      TEXT   NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at  BIGINT NOT NULL,
    PRIMARY KEY (lane, asked, answered)
);

-- What is left of the spend ledger's old rows: sums by day and by all that costs are told apart by. A day may have more
-- than one row of a kind.
CREATE TABLE judge_cost (
    day            BIGINT NOT NULL,
    lane           TEXT   NOT NULL,
    evaluator      TEXT   NOT NULL,
    service        TEXT   NOT NULL,
    response_model TEXT,
    outcome        TEXT   NOT NULL,
    release        TEXT,
    model          TEXT,
    environment    TEXT,
    feature        TEXT,
    tier           TEXT,
    prompt_version TEXT,
    requests       BIGINT NOT NULL,
    answered       BIGINT NOT NULL,
    input_tokens   BIGINT NOT NULL,
    output_tokens  BIGINT NOT NULL,
    charged        BIGINT NOT NULL,
    unsettled      BIGINT NOT NULL
);
CREATE INDEX judge_cost_day ON judge_cost (day);
