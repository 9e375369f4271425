ALTER TABLE storages DROP COLUMN penalised_at;
