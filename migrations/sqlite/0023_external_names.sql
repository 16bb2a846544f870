-- What others have ever scored, by who and what: whether with values, and whether with such as are no shares.
CREATE TABLE external_name (
    annotator_kind TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    has_values     BIGINT NOT NULL,
    is_unbounded   BIGINT NOT NULL,
    PRIMARY KEY (annotator_kind, name)
);
INSERT INTO external_name (annotator_kind, name, has_values, is_unbounded)
SELECT annotator_kind, name, max(CASE WHEN value IS NULL THEN 0 ELSE 1 END), max(CASE WHEN value < 0 OR value > 1 THEN 1 ELSE 0 END)
FROM external_score GROUP BY annotator_kind, name;
-- The index external_score_unbounded is what the release before asks instead; the release after this one drops it.
