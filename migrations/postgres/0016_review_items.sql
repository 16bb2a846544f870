-- What people decided about asking for labels: whom to ask about a judged trace, and what is not asked about any more.
CREATE TABLE review_item (
    trace_id   BYTEA  NOT NULL,
    evaluator  TEXT   NOT NULL,
    assignee   TEXT,
    removed_by TEXT,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (trace_id, evaluator)
);

CREATE INDEX label_reviewer ON label (reviewer, labelled_at);
