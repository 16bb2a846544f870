-- Hours in which runs ended, from the first of which sums are kept of what runs used. State 1: the sums hold; 2: they are
-- being made, for the begun-th time; 0: a run of the hour has come, changed or gone since. An hour before the last that is
-- not here had no runs.
CREATE TABLE used_hour (
    hour  BIGINT NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL,
    begun BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX used_hour_unsummed ON used_hour (hour) WHERE state <> 1;

-- By what the sums of an hour tell runs apart: not by what has too many parts in it.
CREATE TABLE used_dimension (
    dimension TEXT   NOT NULL,
    hour      BIGINT NOT NULL,
    PRIMARY KEY (dimension, hour)
);

-- What the runs of each service and part that ended in the hour came to, weighted but for traces and upstream_unknown. The
-- part is absent where it is not known. Money is in nanodollars.
CREATE TABLE used_sum (
    hour             BIGINT NOT NULL,
    dimension        TEXT   NOT NULL,
    service          TEXT   NOT NULL,
    part             TEXT,
    traces           BIGINT NOT NULL,
    upstream_unknown BIGINT NOT NULL,
    calls            DOUBLE PRECISION NOT NULL,
    unpriced         DOUBLE PRECISION NOT NULL,
    input_tokens     DOUBLE PRECISION NOT NULL,
    output_tokens    DOUBLE PRECISION NOT NULL,
    cached_tokens    DOUBLE PRECISION NOT NULL,
    cost             DOUBLE PRECISION NOT NULL
);
CREATE INDEX used_sum_dimension ON used_sum (dimension, hour);
CREATE INDEX used_sum_hour ON used_sum (hour);

-- Whatever changes a run marks its hour, also where a process changes it that knows nothing of hours.
-- PostgreSQL alone
-- Who begins to sum up an hour locks used_hour for a moment, so that it sees what was changed before and is seen by who
-- changes a run afterwards. The lock comes first: what is read after it is what stands then. All hours of a statement are
-- marked at once and in order: two that mark the same hours wait for each other in a row and not in a circle.
CREATE FUNCTION mark_used(changed BIGINT[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF changed IS NULL THEN RETURN; END IF;
    LOCK TABLE used_hour IN ROW EXCLUSIVE MODE;
    INSERT INTO used_hour (hour, state)
    SELECT one, 0 FROM unnest(changed) AS one
    WHERE one <= (SELECT max(hour) FROM used_hour)
    AND NOT EXISTS (SELECT FROM used_hour WHERE hour = one AND state = 0)
    ORDER BY one
    ON CONFLICT (hour) DO UPDATE SET state = 0;
END $$;
CREATE FUNCTION mark_used_hours() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mark_used(array_agg(DISTINCT ended_at / 3600000000000 * 3600000000000)) FROM changed_rows;
    RETURN NULL;
END $$;
CREATE FUNCTION mark_used_hours_of_versions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM mark_used(array_agg(DISTINCT ended_at / 3600000000000 * 3600000000000)) FROM (
        (SELECT trace_id, version, erased_at, ended_at FROM old_rows
         EXCEPT SELECT trace_id, version, erased_at, ended_at FROM new_rows)
        UNION ALL
        (SELECT trace_id, version, erased_at, ended_at FROM new_rows
         EXCEPT SELECT trace_id, version, erased_at, ended_at FROM old_rows)
    ) AS versions;
    RETURN NULL;
END $$;
CREATE TRIGGER trace_inserted AFTER INSERT ON trace
    REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_used_hours();
CREATE TRIGGER trace_updated AFTER UPDATE ON trace
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_used_hours_of_versions();
CREATE TRIGGER trace_deleted AFTER DELETE ON trace
    REFERENCING OLD TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_used_hours();
