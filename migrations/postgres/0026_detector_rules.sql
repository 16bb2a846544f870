-- What the rules of a service remember, out of what its detectors do, which is a thousand times as much: whoever asks for
-- objectives reads this alone. A service whose state was written by a process that knows nothing of it has none: whoever
-- asks reads the whole. No database takes states apart: the names in them are of traces, and PostgreSQL reads no JSON with
-- a zero byte in a name.
CREATE TABLE detector_rules (
    service TEXT NOT NULL PRIMARY KEY,
    rules   TEXT NOT NULL
);

-- PostgreSQL alone
CREATE FUNCTION forget_detector_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM detector_rules WHERE service = NEW.service;
    RETURN NULL;
END $$;
CREATE TRIGGER detector_state_updated AFTER UPDATE ON detector_state FOR EACH ROW EXECUTE FUNCTION forget_detector_rules();
