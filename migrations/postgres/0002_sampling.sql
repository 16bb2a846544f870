-- What a trace fell under when it was sampled, and with what probability it was kept before it came here.
ALTER TABLE trace ADD COLUMN stratum TEXT;
ALTER TABLE trace ADD COLUMN upstream_probability DOUBLE PRECISION;
CREATE INDEX trace_recorded ON trace (recorded_at, service, stratum);

-- Versions of agents that were noticed by themselves.
CREATE TABLE agent_version (
    service       TEXT   NOT NULL,
    version       TEXT   NOT NULL,
    first_seen_at BIGINT NOT NULL,
    PRIMARY KEY (service, version)
);
CREATE INDEX agent_version_seen ON agent_version (service, first_seen_at);
