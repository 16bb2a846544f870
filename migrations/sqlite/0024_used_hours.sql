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
    calls            DOUBLE NOT NULL,
    unpriced         DOUBLE NOT NULL,
    input_tokens     DOUBLE NOT NULL,
    output_tokens    DOUBLE NOT NULL,
    cached_tokens    DOUBLE NOT NULL,
    cost             DOUBLE NOT NULL
);
CREATE INDEX used_sum_dimension ON used_sum (dimension, hour);
CREATE INDEX used_sum_hour ON used_sum (hour);

-- Whatever changes a run marks its hour, also where a process changes it that knows nothing of hours.
-- SQLite alone
CREATE TRIGGER trace_inserted AFTER INSERT ON trace BEGIN
    INSERT INTO used_hour (hour, state) SELECT new.ended_at / 3600000000000 * 3600000000000, 0
        WHERE new.ended_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM used_hour)
        ON CONFLICT (hour) DO UPDATE SET state = 0;
END;
CREATE TRIGGER trace_updated AFTER UPDATE ON trace WHEN old.version <> new.version OR old.erased_at IS NOT new.erased_at BEGIN
    INSERT INTO used_hour (hour, state) SELECT old.ended_at / 3600000000000 * 3600000000000, 0
        WHERE old.ended_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM used_hour)
        ON CONFLICT (hour) DO UPDATE SET state = 0;
    INSERT INTO used_hour (hour, state) SELECT new.ended_at / 3600000000000 * 3600000000000, 0
        WHERE new.ended_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM used_hour)
        ON CONFLICT (hour) DO UPDATE SET state = 0;
END;
CREATE TRIGGER trace_deleted AFTER DELETE ON trace BEGIN
    INSERT INTO used_hour (hour, state) SELECT old.ended_at / 3600000000000 * 3600000000000, 0
        WHERE old.ended_at / 3600000000000 * 3600000000000 <= (SELECT max(hour) FROM used_hour)
        ON CONFLICT (hour) DO UPDATE SET state = 0;
END;
