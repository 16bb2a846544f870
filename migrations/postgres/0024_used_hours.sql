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
-- changes a run afterwards. The lock comes first: what is read after it is what stands then.
CREATE FUNCTION mark_used_hours() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE used_hour IN ROW EXCLUSIVE MODE;
    INSERT INTO used_hour (hour, state)
    SELECT DISTINCT ended_at / 3600000000000 * 3600000000000 AS changed, 0
    FROM unnest(ARRAY[OLD.ended_at, NEW.ended_at]) AS ended_at
    WHERE ended_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM used_hour)
    AND NOT EXISTS (SELECT FROM used_hour WHERE hour = ended_at / 3600000000000 * 3600000000000 AND state = 0)
    ORDER BY changed
    ON CONFLICT (hour) DO UPDATE SET state = 0;
    RETURN NULL;
END $$;
CREATE TRIGGER trace_inserted AFTER INSERT ON trace FOR EACH ROW EXECUTE FUNCTION mark_used_hours();
CREATE TRIGGER trace_updated AFTER UPDATE ON trace FOR EACH ROW
    WHEN (OLD.version <> NEW.version OR OLD.erased_at IS DISTINCT FROM NEW.erased_at) EXECUTE FUNCTION mark_used_hours();
CREATE TRIGGER trace_deleted AFTER DELETE ON trace FOR EACH ROW EXECUTE FUNCTION mark_used_hours();
