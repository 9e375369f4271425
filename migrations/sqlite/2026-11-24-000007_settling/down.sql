DROP INDEX quorate_led;
