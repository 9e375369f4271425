ALTER TABLE supervisors DROP COLUMN attempt;
ALTER TABLE supervisors DROP COLUMN process;
