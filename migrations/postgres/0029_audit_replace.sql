-- REPLACE deletes without a word to triggers of deletion, unless a connection asks for that: a line whose number is taken is
-- refused, whatever is to become of the one before. PostgreSQL has no REPLACE, and its triggers hear of each change.
-- PostgreSQL alone
COMMENT ON TABLE audit_log IS 'lines are only added';
