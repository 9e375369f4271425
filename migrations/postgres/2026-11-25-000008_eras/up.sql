-- The life of the database, as it is compared with what nodes report.

-- How far this database has come. Another server or timeline begins its era first: only then is it what its epochs come from.
CREATE FUNCTION quorate_epochs_given() RETURNS json LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM quorate_era_holds();
    RETURN (SELECT json_build_object('era', coalesce((SELECT max(era) FROM eras), 1),
                                     'number', CASE WHEN is_called THEN last_value ELSE 0 END) FROM primary_epochs);
END $$;

-- An operator's repair: a new era, unless somebody began one since the caller looked. Answers the one in force.
CREATE FUNCTION quorate_era_raise(seen bigint, reported bigint, why text) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(8175111497114);
    IF (SELECT coalesce(max(era), 1) FROM eras) = seen THEN
        INSERT INTO eras (era, system_identifier, timeline, reason)
        SELECT greatest(seen + 1, (coalesce(reported, 0) >> 37) + 1,
                        floor(extract(epoch FROM clock_timestamp() - timestamptz '2026-01-01 00:00:00+00') / 60)::bigint),
               server_id, line, why
        FROM quorate_server();
        PERFORM quorate_announce('primaries', '{}');
    END IF;
    RETURN (SELECT coalesce(max(era), 1) FROM eras);
END $$;
