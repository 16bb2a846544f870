-- The day on which a piece's spans began, in days since the Unix epoch; 0 where that is not known.
ALTER TABLE chunk ADD COLUMN day BIGINT NOT NULL DEFAULT 0;
