-- What the rules of a service remember, out of what its detectors do, which is a thousand times as much: whoever asks for
-- objectives reads this alone. A service whose state was written since by a process that knows nothing of it has none.
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
INSERT INTO detector_rules (service, rules) SELECT service, rules FROM (
    SELECT service, CAST(CAST(state AS json) -> 'rules' AS text) AS rules FROM detector_state
) AS kept WHERE rules IS NOT NULL;
