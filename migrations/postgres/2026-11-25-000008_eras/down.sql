DROP FUNCTION IF EXISTS quorate_era_raise(bigint, bigint, text);
DROP FUNCTION IF EXISTS quorate_epochs_given();
