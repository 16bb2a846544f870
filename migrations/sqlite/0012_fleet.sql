-- Messages of the broker that were begun alone because an earlier delivery was not acknowledged: one that takes its
-- worker down is told by how often it was begun and never ended.
CREATE TABLE message_attempt (
    message BLOB NOT NULL PRIMARY KEY,
    attempts BIGINT NOT NULL,
    begun_at BIGINT NOT NULL
);

-- Work that one process at a time does for all.
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    held_until BIGINT NOT NULL
);
