-- Every hour is summed up again, by calls of tools too. First, for who keeps sums locks an hour before its dimensions.
UPDATE used_hour SET state = 0;
CREATE INDEX used_dimension_hour ON used_dimension (hour);

-- What the calls of tools came to in the runs of each service and part that ended in the hour: by tool weighted, by
-- conversation as received. They go when what tells that there are such sums goes, also where a process deletes it that
-- knows nothing of them.
CREATE TABLE used_tool_sum (
    hour      BIGINT NOT NULL,
    dimension TEXT   NOT NULL,
    service   TEXT   NOT NULL,
    part      TEXT   NOT NULL,
    traces    BIGINT NOT NULL,
    calls     DOUBLE NOT NULL,
    failed    DOUBLE NOT NULL,
    empty     DOUBLE NOT NULL,
    FOREIGN KEY (dimension, hour) REFERENCES used_dimension (dimension, hour) ON DELETE CASCADE
);
CREATE INDEX used_tool_sum_dimension ON used_tool_sum (dimension, hour);
