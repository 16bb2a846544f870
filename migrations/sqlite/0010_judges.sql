-- Which evaluators are judges, without reading every score.
CREATE INDEX evaluation_judge ON evaluation (evaluator) WHERE annotator_kind = 'llm' AND outcome = 'scored';
