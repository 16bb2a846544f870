-- Whatever changes a judgement marks its hour, and what others score is noted by name, in the database: also where a process
-- does it that knows of neither. What such processes did before this is found again.
UPDATE judged_hour SET state = 0;

-- SQLite alone
CREATE TRIGGER evaluation_inserted AFTER INSERT ON evaluation WHEN new.annotator_kind = 'llm' BEGIN
    INSERT INTO judged_hour (hour, state) SELECT new.evaluated_at / 3600000000000 * 3600000000000, 0
        WHERE new.evaluated_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM judged_hour)
        ON CONFLICT (hour) DO UPDATE SET state = 0;
END;
CREATE TRIGGER evaluation_updated AFTER UPDATE ON evaluation WHEN 'llm' IN (old.annotator_kind, new.annotator_kind)
    AND (old.trace_id, old.evaluator, old.revision, old.annotator_kind, old.outcome, old.value, old.probability, old.evaluated_at)
    IS NOT
    (new.trace_id, new.evaluator, new.revision, new.annotator_kind, new.outcome, new.value, new.probability, new.evaluated_at)
BEGIN
    INSERT INTO judged_hour (hour, state) SELECT old.evaluated_at / 3600000000000 * 3600000000000, 0
        WHERE old.evaluated_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM judged_hour)
        ON CONFLICT (hour) DO UPDATE SET state = 0;
    INSERT INTO judged_hour (hour, state) SELECT new.evaluated_at / 3600000000000 * 3600000000000, 0
        WHERE new.evaluated_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM judged_hour)
        ON CONFLICT (hour) DO UPDATE SET state = 0;
END;
CREATE TRIGGER evaluation_deleted AFTER DELETE ON evaluation WHEN old.annotator_kind = 'llm' BEGIN
    INSERT INTO judged_hour (hour, state) SELECT old.evaluated_at / 3600000000000 * 3600000000000, 0
        WHERE old.evaluated_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM judged_hour)
        ON CONFLICT (hour) DO UPDATE SET state = 0;
END;
CREATE TRIGGER label_inserted AFTER INSERT ON label BEGIN
    UPDATE judged_hour SET state = 0 WHERE state <> 0 AND hour IN (SELECT evaluated_at / 3600000000000 * 3600000000000 FROM evaluation
        WHERE trace_id = new.trace_id AND evaluator = new.evaluator AND annotator_kind = 'llm');
END;
CREATE TRIGGER review_draw_inserted AFTER INSERT ON review_draw BEGIN
    UPDATE judged_hour SET state = 0 WHERE state <> 0 AND hour IN (SELECT evaluated_at / 3600000000000 * 3600000000000 FROM evaluation
        WHERE trace_id = new.trace_id AND evaluator = new.evaluator AND annotator_kind = 'llm');
END;
CREATE TRIGGER external_score_inserted AFTER INSERT ON external_score BEGIN
    INSERT INTO external_name (annotator_kind, name, has_values, is_unbounded)
        VALUES (new.annotator_kind, new.name, new.value IS NOT NULL, coalesce(new.value < 0 OR new.value > 1, 0))
        ON CONFLICT (annotator_kind, name) DO UPDATE SET has_values = max(has_values, excluded.has_values),
        is_unbounded = max(is_unbounded, excluded.is_unbounded);
END;
CREATE TRIGGER external_score_updated AFTER UPDATE ON external_score BEGIN
    INSERT INTO external_name (annotator_kind, name, has_values, is_unbounded)
        VALUES (new.annotator_kind, new.name, new.value IS NOT NULL, coalesce(new.value < 0 OR new.value > 1, 0))
        ON CONFLICT (annotator_kind, name) DO UPDATE SET has_values = max(has_values, excluded.has_values),
        is_unbounded = max(is_unbounded, excluded.is_unbounded);
END;

-- Last, for while the triggers come others still write.
INSERT INTO external_name (annotator_kind, name, has_values, is_unbounded)
SELECT annotator_kind, name, max(CASE WHEN value IS NULL THEN 0 ELSE 1 END), max(CASE WHEN value < 0 OR value > 1 THEN 1 ELSE 0 END)
FROM external_score WHERE TRUE GROUP BY annotator_kind, name
ON CONFLICT (annotator_kind, name) DO UPDATE SET
    has_values = CASE WHEN excluded.has_values > external_name.has_values THEN 1 ELSE external_name.has_values END,
    is_unbounded = CASE WHEN excluded.is_unbounded > external_name.is_unbounded THEN 1 ELSE external_name.is_unbounded END;
