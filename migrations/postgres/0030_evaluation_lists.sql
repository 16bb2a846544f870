-- Evaluations that are read with their trace alone: what passed, and what had nothing to say. Rows of
-- their own were most of the rows that a trace wrote.

-- One row for each trace that has such. Evaluations are [evaluator, revision, annotator_kind, outcome, value, label] each,
-- explanations stand in the same order. Labels are those of scores, each once, in lower case, on a line of its own, so that
-- a list without a label need not be read for it. All are of the root span, whole, and made with probability 1.
CREATE TABLE evaluation_list (
    trace_id      BYTEA  NOT NULL PRIMARY KEY,
    trace_version BIGINT NOT NULL,
    span_id       BYTEA  NOT NULL,
    evaluated_at  BIGINT NOT NULL,
    listed        BIGINT NOT NULL,
    labels        TEXT   NOT NULL,
    evaluations   TEXT   NOT NULL,
    explanations  TEXT
);

-- PostgreSQL alone
CREATE VIEW listed_evaluation AS SELECT trace_id, item ->> 0 AS evaluator, item ->> 1 AS revision, trace_version,
    span_id, item ->> 2 AS annotator_kind, item ->> 3 AS outcome, (item ->> 4)::double precision AS value,
    item ->> 5 AS label, explanations::jsonb ->> (place - 1)::int AS explanation, evaluated_at, labels
    FROM evaluation_list, jsonb_array_elements(evaluations::jsonb) WITH ORDINALITY AS listed (item, place);
-- Whoever replaces, erases or removes a trace, if it knows of lists or not.
CREATE FUNCTION forget_evaluation_list() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM evaluation_list WHERE trace_id = OLD.trace_id;
    RETURN NULL;
END $$;
CREATE FUNCTION erase_evaluation_list() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE evaluation_list SET explanations = NULL WHERE trace_id = OLD.trace_id;
    RETURN NULL;
END $$;
CREATE TRIGGER evaluation_list_superseded AFTER UPDATE OF version ON trace FOR EACH ROW
    WHEN (NEW.version <> OLD.version) EXECUTE FUNCTION forget_evaluation_list();
CREATE TRIGGER evaluation_list_erased AFTER UPDATE OF erased_at ON trace FOR EACH ROW
    WHEN (NEW.erased_at IS NOT NULL) EXECUTE FUNCTION erase_evaluation_list();
CREATE TRIGGER evaluation_list_deleted AFTER DELETE ON trace FOR EACH ROW EXECUTE FUNCTION forget_evaluation_list();
