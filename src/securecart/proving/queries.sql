-- name: tallies
-- Every table of the shop that we may read, with what was ever inserted into it and deleted from it, by the server's own count.
SELECT class.relname AS name, class.oid::regclass::text AS quoted, pg_relation_filenode(class.oid)::bigint AS file,
    coalesce(pg_stat_get_tuples_inserted(class.oid), 0) AS inserted, coalesce(pg_stat_get_tuples_deleted(class.oid), 0) AS deleted
FROM pg_class AS class
WHERE class.relnamespace = 'public'::regnamespace AND class.relkind = 'r' AND has_table_privilege(class.oid, 'SELECT')
ORDER BY class.relname;

-- name: server
-- Which server this is, and since when it runs and counts.
SELECT concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time(), stats_reset)
FROM pg_stat_database
WHERE datname = current_database();

-- name: database_bytes
-- How large the database is.
SELECT pg_database_size(current_database());

-- name: to_read
-- Everything that amcheck can read from end to end, the system's own catalogue included, the largest first: tables with what
-- they keep aside (TOAST), and indexes of the kinds $1.
SELECT class.oid, class.oid::regclass::text AS name, CASE WHEN class.relkind = 'i' THEN method.amname ELSE 'heap' END AS kind,
    coalesce(index.indisunique, false) AS is_unique
FROM pg_class AS class
JOIN pg_am AS method ON method.oid = class.relam
LEFT JOIN pg_index AS index ON index.indexrelid = class.oid
WHERE class.relpersistence = 'p'
    AND (class.relkind IN ('r', 'm', 't') OR class.relkind = 'i' AND method.amname = ANY ($1::text[]) AND index.indisvalid)
ORDER BY pg_relation_size(class.oid) DESC;

-- name: read_heap
-- What is wrong with table $1, reading each of its rows and what it keeps aside.
SELECT format('block %s, item %s: %s', blkno, offnum, msg) FROM verify_heapam($1::oid::regclass, check_toast => true) LIMIT 20;

-- name: read_btree
-- Fails when index $1 is not in order, or lacks an entry for a row of its table, or has one key twice that it must have once.
SELECT bt_index_parent_check($1::oid::regclass, heapallindexed => true, rootdescend => false, checkunique => true);

-- name: read_btree_16
-- The same for PostgreSQL 16, which does not look for keys that are there twice.
SELECT bt_index_parent_check($1::oid::regclass, heapallindexed => true, rootdescend => false);

-- name: read_gin
-- Fails when the inverted index $1 is not in order.
SELECT gin_index_check($1::oid::regclass);

-- name: clock
-- What the server's clock shows.
SELECT clock_timestamp();
