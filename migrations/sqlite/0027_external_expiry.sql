-- When a score came: one that its sender dates early may still come before its trace does. Of those of before, and of
-- those that a process of an earlier release stores, all that is known is when they were made.
ALTER TABLE external_score ADD COLUMN received_at BIGINT;
-- For scores of traces that never came, and for names that no score has any more.
CREATE INDEX external_score_received ON external_score ((coalesce(received_at, scored_at)));
CREATE INDEX external_score_name ON external_score (annotator_kind, name);
