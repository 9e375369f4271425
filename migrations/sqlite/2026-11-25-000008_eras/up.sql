-- The eras and the counter are read and written as they stand: SQLite has no functions to make.
SELECT 1;
