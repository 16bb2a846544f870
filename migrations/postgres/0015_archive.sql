-- Whether the run tells of a decision of its own: such runs are archived, like flagged ones.
ALTER TABLE trace ADD COLUMN reports_decision BIGINT NOT NULL DEFAULT 0;

-- Files of the archive that are whole; one that is not here was left behind and is removed.
CREATE TABLE archive_file (
    name       TEXT   NOT NULL PRIMARY KEY,
    day        BIGINT NOT NULL,
    written_at BIGINT NOT NULL
);
CREATE INDEX archive_file_day ON archive_file (day);

-- Where a trace stands in them, in bytes.
CREATE TABLE archived_trace (
    trace_id BYTEA NOT NULL PRIMARY KEY,
    file     TEXT NOT NULL,
    position BIGINT NOT NULL,
    length   BIGINT NOT NULL
);
CREATE INDEX archived_trace_file ON archived_trace (file);
