DROP FUNCTION IF EXISTS quorate_settle_cas(text, text, bigint, bigint, text, bigint, text, text, json);
