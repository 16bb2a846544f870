-- Traces whose claim was not finished are claimed before all others, one by one. Without this they are looked for among all
-- that are due, at each claim.
CREATE INDEX pending_again ON pending (due_at, trace_id) WHERE attempts > 0;
