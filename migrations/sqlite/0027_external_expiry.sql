-- For scores of traces that never came, and for names that no score has any more.
CREATE INDEX external_score_scored ON external_score (scored_at);
CREATE INDEX external_score_name ON external_score (annotator_kind, name);
