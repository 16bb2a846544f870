-- One row: until when recorded traces are counted into version_hour. A pass that was interrupted is done again.
CREATE TABLE version_count (
    id            BIGINT NOT NULL PRIMARY KEY,
    counted_until BIGINT NOT NULL
);

-- Old steps of alerts are purged.
CREATE INDEX alert_event_at ON alert_event (at);
