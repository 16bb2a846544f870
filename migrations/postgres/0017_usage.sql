-- What the calls of each model, and of each tool, came to in an evaluated trace; a later version replaces its rows. An
-- empty model is one that the spans do not name. Money is in nanodollars.
CREATE TABLE trace_model (
    trace_id      BYTEA NOT NULL,
    model         TEXT NOT NULL,
    operation     TEXT,
    calls         BIGINT NOT NULL,
    unpriced      BIGINT NOT NULL,
    input_tokens  BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cost          BIGINT NOT NULL,
    PRIMARY KEY (trace_id, model)
);
CREATE TABLE trace_tool (
    trace_id BYTEA NOT NULL,
    tool     TEXT NOT NULL,
    calls    BIGINT NOT NULL,
    failed   BIGINT NOT NULL,
    empty    BIGINT NOT NULL,
    PRIMARY KEY (trace_id, tool)
);

-- What each trace counts for in the day's budgets of agents, so that a later version can take it back.
CREATE TABLE agent_charge (
    trace_id BYTEA NOT NULL,
    scope    TEXT NOT NULL,
    day      BIGINT NOT NULL,
    cost     BIGINT NOT NULL,
    PRIMARY KEY (trace_id, scope)
);
CREATE INDEX agent_charge_scope ON agent_charge (scope, day, cost);

-- Their sums: days since the Unix epoch, dimension=value.
CREATE TABLE agent_budget_day (
    day   BIGINT NOT NULL,
    scope TEXT NOT NULL,
    spent BIGINT NOT NULL,
    PRIMARY KEY (day, scope)
);
