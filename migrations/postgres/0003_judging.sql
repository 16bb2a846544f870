-- Which workers make a judgement (a judge model's name in the settings), for whom, how likely it was made under the
-- budget, and since when it has been tried.
ALTER TABLE judge_job ADD COLUMN lane TEXT NOT NULL DEFAULT 'default';
ALTER TABLE judge_job ADD COLUMN service TEXT NOT NULL DEFAULT '';
ALTER TABLE judge_job ADD COLUMN judging_rate DOUBLE PRECISION;
ALTER TABLE judge_job ADD COLUMN first_attempt_at BIGINT;
CREATE INDEX judge_job_lane ON judge_job (lane, due_at);

-- The spend ledger: a row for every request to a judge model, written before it leaves. Until it is settled the most
-- that it can cost counts; so a worker that dies leaves its requests charged in full.
CREATE TABLE judge_call (
    id             BYTEA  NOT NULL PRIMARY KEY,
    day            BIGINT NOT NULL,
    reserved_at    BIGINT NOT NULL,
    lane           TEXT   NOT NULL,
    evaluator      TEXT   NOT NULL,
    revision       TEXT   NOT NULL,
    service        TEXT   NOT NULL,
    trace_id       BYTEA  NOT NULL,
    reserved       BIGINT NOT NULL,
    charged        BIGINT,
    outcome        TEXT   NOT NULL,
    response_model TEXT,
    input_tokens   BIGINT NOT NULL,
    output_tokens  BIGINT NOT NULL,
    sent_at        BIGINT,
    settled_at     BIGINT
);
CREATE INDEX judge_call_reserved_at ON judge_call (reserved_at);
CREATE INDEX judge_call_trace ON judge_call (trace_id);
CREATE INDEX judge_call_under_way ON judge_call (reserved_at) WHERE settled_at IS NULL;

-- What of each day's budget is charged or reserved, in nanodollars; the scope is a service, or empty for all of them.
CREATE TABLE budget_day (
    day        BIGINT NOT NULL,
    scope      TEXT   NOT NULL,
    committed  BIGINT NOT NULL,
    stopped_at BIGINT,
    PRIMARY KEY (day, scope)
);

-- Verdicts by what was asked of which judge.
CREATE TABLE judge_cache (
    key       BYTEA  NOT NULL PRIMARY KEY,
    verdict   TEXT   NOT NULL,
    cached_at BIGINT NOT NULL
);
CREATE INDEX judge_cache_age ON judge_cache (cached_at);

-- What all processes share, as one JSON value each.
CREATE TABLE shared_state (
    name  TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL
);
