-- Whatever changes a judgement marks its hour, and what others score is noted by name, in the database: also where a process
-- does it that knows of neither. What such processes did before this is found again.
UPDATE judged_hour SET state = 0;

-- PostgreSQL alone
-- Who begins to sum up an hour locks judged_hour for a moment, so that it sees what was changed before and is seen by who
-- changes something afterwards. The lock comes first: what is read after it is what stands then. All hours of a statement
-- are marked at once and in order: two that mark the same hours wait for each other in a row and not in a circle.
CREATE FUNCTION mark_judged(changed BIGINT[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF changed IS NULL THEN RETURN; END IF;
    LOCK TABLE judged_hour IN ROW EXCLUSIVE MODE;
    INSERT INTO judged_hour (hour, state)
    SELECT one, 0 FROM unnest(changed) AS one
    WHERE one <= (SELECT max(hour) FROM judged_hour)
    AND NOT EXISTS (SELECT FROM judged_hour WHERE hour = one AND state = 0)
    ORDER BY one
    ON CONFLICT (hour) DO UPDATE SET state = 0;
END $$;
CREATE FUNCTION mark_judged_hours() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mark_judged(array_agg(DISTINCT evaluated_at / 3600000000000 * 3600000000000))
    FROM changed_rows WHERE annotator_kind = 'llm';
    RETURN NULL;
END $$;
CREATE FUNCTION mark_judged_hours_of_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mark_judged(array_agg(DISTINCT evaluated_at / 3600000000000 * 3600000000000)) FROM (
        (SELECT trace_id, evaluator, revision, outcome, value, probability, evaluated_at FROM old_rows WHERE annotator_kind = 'llm'
         EXCEPT SELECT trace_id, evaluator, revision, outcome, value, probability, evaluated_at FROM new_rows WHERE annotator_kind = 'llm')
        UNION ALL
        (SELECT trace_id, evaluator, revision, outcome, value, probability, evaluated_at FROM new_rows WHERE annotator_kind = 'llm'
         EXCEPT SELECT trace_id, evaluator, revision, outcome, value, probability, evaluated_at FROM old_rows WHERE annotator_kind = 'llm')
    ) AS judgements;
    RETURN NULL;
END $$;
CREATE FUNCTION mark_judged_hours_of_traces() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE judged_hour IN ROW EXCLUSIVE MODE;
    PERFORM mark_judged(array_agg(DISTINCT evaluated_at / 3600000000000 * 3600000000000))
    FROM changed_rows CROSS JOIN LATERAL (
        -- Without OFFSET a plan made while there were few judgements would read all of them later.
        SELECT evaluated_at FROM evaluation WHERE trace_id = changed_rows.trace_id AND evaluator = changed_rows.evaluator
        AND annotator_kind = 'llm' OFFSET 0
    ) AS judgement;
    RETURN NULL;
END $$;
CREATE FUNCTION note_external_name() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    valued BIGINT := (NEW.value IS NOT NULL)::int;
    unbounded BIGINT := coalesce(NEW.value < 0 OR NEW.value > 1, FALSE)::int;
BEGIN
    -- Who forgets names that no score has any more waits for who adds one, and the other way round.
    LOCK TABLE external_name IN ROW EXCLUSIVE MODE;
    INSERT INTO external_name (annotator_kind, name, has_values, is_unbounded)
    SELECT NEW.annotator_kind, NEW.name, valued, unbounded
    WHERE NOT EXISTS (SELECT FROM external_name WHERE annotator_kind = NEW.annotator_kind AND name = NEW.name
        AND has_values >= valued AND is_unbounded >= unbounded)
    ON CONFLICT (annotator_kind, name) DO UPDATE SET has_values = greatest(external_name.has_values, excluded.has_values),
    is_unbounded = greatest(external_name.is_unbounded, excluded.is_unbounded);
    RETURN NULL;
END $$;
CREATE TRIGGER evaluation_inserted AFTER INSERT ON evaluation
    REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_judged_hours();
CREATE TRIGGER evaluation_updated AFTER UPDATE ON evaluation
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_judged_hours_of_changes();
CREATE TRIGGER evaluation_deleted AFTER DELETE ON evaluation
    REFERENCING OLD TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_judged_hours();
CREATE TRIGGER label_inserted AFTER INSERT ON label
    REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_judged_hours_of_traces();
CREATE TRIGGER review_draw_inserted AFTER INSERT ON review_draw
    REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_judged_hours_of_traces();
CREATE TRIGGER external_score_changed AFTER INSERT OR UPDATE ON external_score FOR EACH ROW EXECUTE FUNCTION note_external_name();

-- Last, for while the triggers come others still write.
INSERT INTO external_name (annotator_kind, name, has_values, is_unbounded)
SELECT annotator_kind, name, max(CASE WHEN value IS NULL THEN 0 ELSE 1 END), max(CASE WHEN value < 0 OR value > 1 THEN 1 ELSE 0 END)
FROM external_score WHERE TRUE GROUP BY annotator_kind, name
ON CONFLICT (annotator_kind, name) DO UPDATE SET
    has_values = CASE WHEN excluded.has_values > external_name.has_values THEN 1 ELSE external_name.has_values END,
    is_unbounded = CASE WHEN excluded.is_unbounded > external_name.is_unbounded THEN 1 ELSE external_name.is_unbounded END;
