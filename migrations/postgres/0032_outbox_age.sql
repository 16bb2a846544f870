-- When something began to wait to be sent: what waits longer than whole traces are kept is given up. Of what was written
-- before, and of what a process of an earlier release writes, that is known when it is claimed; what nobody claims has been
-- due since then.
ALTER TABLE outbox ADD COLUMN created_at BIGINT;
