-- Who registered, so that a process finds its own registration again and one that lands late supersedes nobody.
ALTER TABLE supervisors ADD COLUMN process TEXT;
ALTER TABLE supervisors ADD COLUMN attempt INTEGER;
