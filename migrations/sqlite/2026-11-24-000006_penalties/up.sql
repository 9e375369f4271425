-- Since when a storage is penalised: how long its last penalty was, and whether that was lately, follow from it.
ALTER TABLE storages ADD COLUMN penalised_at INTEGER;
