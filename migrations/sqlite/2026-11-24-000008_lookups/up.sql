-- Nothing: on SQLite every writer is ours and tells by itself when a primary ceases to be valid. On PostgreSQL this step adds
-- what tells it for others.
SELECT 1;
