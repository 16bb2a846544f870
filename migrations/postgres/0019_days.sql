-- The day on which a piece's spans began, in days since the Unix epoch; 0 where that is not known.
ALTER TABLE chunk ADD COLUMN day BIGINT NOT NULL DEFAULT 0;

-- PostgreSQL alone: a partition for each day, added ahead and dropped when its day has gone. What falls into none of them
-- is in chunk_other. What was stored before stays where it lies, as the partition of day 0.
ALTER TABLE chunk RENAME TO chunk_0;
ALTER TABLE chunk_0 DROP CONSTRAINT chunk_pkey;
CREATE TABLE chunk (LIKE chunk_0 INCLUDING DEFAULTS, PRIMARY KEY (trace_id, content_hash, day)) PARTITION BY RANGE (day);
ALTER TABLE chunk ATTACH PARTITION chunk_0 FOR VALUES FROM (0) TO (1);
CREATE TABLE chunk_other PARTITION OF chunk DEFAULT;
