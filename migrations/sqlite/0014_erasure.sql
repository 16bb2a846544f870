-- When what a trace said and whose it was were erased: nothing of it is taken in again.
ALTER TABLE trace ADD COLUMN erased_at BIGINT;

-- The traces that a remembered verdict was given for, so that it can be forgotten with them.
CREATE TABLE judge_cache_trace (
    key      BLOB NOT NULL,
    trace_id BLOB NOT NULL,
    PRIMARY KEY (key, trace_id)
);
CREATE INDEX judge_cache_trace_trace ON judge_cache_trace (trace_id);
