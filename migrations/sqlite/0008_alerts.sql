-- Every step in the life of every alert, never changed. Within one fingerprint later steps have larger ids.
CREATE TABLE alert_event (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT    NOT NULL,
    at          BIGINT  NOT NULL,
    transition  TEXT    NOT NULL,
    alert       TEXT    NOT NULL
);
CREATE INDEX alert_event_fingerprint ON alert_event (fingerprint, id);

-- What each channel has been told of an alert, and up to which step.
CREATE TABLE alert_notice (
    fingerprint TEXT   NOT NULL PRIMARY KEY,
    last_event  BIGINT NOT NULL,
    is_open     BIGINT NOT NULL,
    told        TEXT   NOT NULL
);

CREATE TABLE silence (
    id      TEXT   NOT NULL PRIMARY KEY,
    ends_at BIGINT NOT NULL,
    silence TEXT   NOT NULL
);

-- When a detector last reported the alert, by the clock.
ALTER TABLE alert ADD COLUMN confirmed_at BIGINT;

-- Items of one lane of a destination are delivered in order.
ALTER TABLE outbox ADD COLUMN lane TEXT;
CREATE INDEX outbox_lane ON outbox (destination, lane, id);
