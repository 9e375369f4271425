-- What a dead node led is settled in sets.
CREATE INDEX quorate_led ON repositories (virtual_storage, "primary", repository_id);
