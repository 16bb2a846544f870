-- Evaluations that are read with their trace alone: what passed, and what had nothing to say. Rows of
-- their own were most of the rows that a trace wrote.

-- One row for each trace that has such. Evaluations are [evaluator, revision, annotator_kind, outcome, value, label] each,
-- explanations stand in the same order. Labels are those of scores, each once, in lower case, on a line of its own, so that
-- a list without a label need not be read for it. All are of the root span, whole, and made with probability 1.
CREATE TABLE evaluation_list (
    trace_id      BLOB   NOT NULL PRIMARY KEY,
    trace_version BIGINT NOT NULL,
    span_id       BLOB   NOT NULL,
    evaluated_at  BIGINT NOT NULL,
    listed        BIGINT NOT NULL,
    labels        TEXT   NOT NULL,
    evaluations   TEXT   NOT NULL,
    explanations  TEXT
);

-- SQLite alone
CREATE VIEW listed_evaluation AS SELECT trace_id, json_extract(item.value, '$[0]') AS evaluator,
    json_extract(item.value, '$[1]') AS revision, trace_version, span_id, json_extract(item.value, '$[2]') AS annotator_kind,
    json_extract(item.value, '$[3]') AS outcome, CAST(json_extract(item.value, '$[4]') AS REAL) AS value,
    json_extract(item.value, '$[5]') AS label, json_extract(explanations, '$[' || item.key || ']') AS explanation, evaluated_at, labels
    FROM evaluation_list, json_each(evaluations) AS item;
-- Whoever replaces, erases or removes a trace, if it knows of lists or not.
CREATE TRIGGER evaluation_list_superseded AFTER UPDATE OF version ON trace WHEN new.version <> old.version BEGIN
    DELETE FROM evaluation_list WHERE trace_id = old.trace_id;
END;
CREATE TRIGGER evaluation_list_erased AFTER UPDATE OF erased_at ON trace WHEN new.erased_at IS NOT NULL BEGIN
    UPDATE evaluation_list SET explanations = NULL WHERE trace_id = old.trace_id;
END;
CREATE TRIGGER evaluation_list_deleted AFTER DELETE ON trace BEGIN
    DELETE FROM evaluation_list WHERE trace_id = old.trace_id;
END;
