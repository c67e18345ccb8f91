-- name: how_is_it
-- Whether this server takes writes, and the age in seconds of the newest commit that it has replayed where it does not.
SELECT
    NOT pg_is_in_recovery() AS writes,
    CASE WHEN pg_is_in_recovery() THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END AS replayed_s;

-- name: digests
-- For each table of the shop a statement that counts its rows and sums their digests, whatever their order.
SELECT
    relname AS name,
    format('SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM %I AS t', relname) AS statement
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
ORDER BY relname;
