-- Statistics add to a trace's record what was scored after it was made, by judges and services; the rules' scores are in it.
ALTER TABLE evaluation ADD COLUMN after_record BIGINT NOT NULL DEFAULT 0;
UPDATE evaluation SET after_record = 1 WHERE outcome = 'scored' AND (annotator_kind = 'llm' OR evaluated_at > (
  SELECT recorded_at FROM trace WHERE trace.trace_id = evaluation.trace_id));
CREATE INDEX evaluation_after_record ON evaluation (trace_id) WHERE after_record = 1;
