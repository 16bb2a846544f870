-- REPLACE deletes without a word to triggers of deletion, unless a connection asks for that: a line whose number is taken is
-- refused, whatever is to become of the one before. PostgreSQL has no REPLACE, and its triggers hear of each change.
-- SQLite alone
CREATE TRIGGER audit_log_is_not_replaced BEFORE INSERT ON audit_log
WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
