-- Which timeline a standby receives at this moment: 0 when it receives none, -1 where the tables' owner may not see that.
-- PostgreSQL shows it to those who may read all statistics; the shop's own role may not, and needs just this.
CREATE FUNCTION received_timeline() RETURNS integer LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN receiver.pid IS NULL THEN 0 WHEN receiver.status IS NULL THEN -1
        WHEN receiver.status = 'streaming' THEN receiver.received_tli ELSE 0 END
    FROM (SELECT) AS node LEFT JOIN pg_stat_wal_receiver AS receiver ON true;
$$;
