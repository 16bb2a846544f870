-- What the rules of a service remember, out of what its detectors do, which is a thousand times as much: whoever asks for
-- objectives reads this alone. A service whose state was written since by a process that knows nothing of it has none.
CREATE TABLE detector_rules (
    service TEXT NOT NULL PRIMARY KEY,
    rules   TEXT NOT NULL
);

-- SQLite alone
CREATE TRIGGER detector_state_updated AFTER UPDATE ON detector_state BEGIN
    DELETE FROM detector_rules WHERE service = new.service;
END;
INSERT INTO detector_rules (service, rules) SELECT service, json_extract(state, '$.rules') FROM detector_state
WHERE json_valid(state) AND json_extract(state, '$.rules') IS NOT NULL;
