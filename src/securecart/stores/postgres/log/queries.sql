-- name: publish
-- Write the facts $1 into the event log, in order, as part of the caller's transaction.
INSERT INTO event (body) SELECT body FROM unnest($1::jsonb[]) WITH ORDINALITY AS fact (body, position) ORDER BY position;

-- name: register_readers
-- Readers with the names $1 begin where the log begins; those that are known stay where they are.
INSERT INTO reader (name) SELECT name FROM unnest($1::text[]) AS given (name) ON CONFLICT (name) DO NOTHING;

-- name: read_batch
-- At most $3 rows behind the place ($1, $2), in order; none that an unfinished transaction could still get in front of.
-- Ordered by the column, not by the number that is made of it, which no index has in order.
SELECT xid::text::bigint AS xid, id, at, body::text AS body
FROM event
WHERE (xid, id) > ($1::bigint::text::xid8, $2::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY event.xid, event.id
LIMIT $3;

-- name: find_place
-- Where reader $1 stands.
SELECT xid::text::bigint AS xid, id FROM reader WHERE name = $1;

-- name: move_reader
-- Reader $1 goes on from the place ($2, $3) to ($4, $5), whose row was written at $6; no row when it stands elsewhere by now.
UPDATE reader
SET xid = $4::bigint::text::xid8, id = $5, passed = $6, moved_at = now()
WHERE name = $1 AND xid = $2::bigint::text::xid8 AND id = $3
RETURNING true;

-- name: horizon
-- The place below which nothing can be added any more: every transaction before it has ended.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xid, 0::bigint AS id;

-- name: newest_place
-- The last row that is committed.
SELECT xid::text::bigint AS xid, id FROM event ORDER BY event.xid DESC, id DESC LIMIT 1;

-- name: standings
-- Every reader: how many events it is behind by their numbers, how old the oldest unread one is, where it stands.
SELECT
    reader.name, reader.xid::text::bigint AS xid, reader.id, reader.passed, reader.moved_at,
    CASE WHEN unread.id IS NULL THEN 0 ELSE greatest(newest_event_id() - unread.id + 1, 1) END AS behind_events,
    greatest(extract(epoch FROM clock_timestamp() - unread.at), 0)::float8 AS behind_seconds
FROM reader
LEFT JOIN LATERAL (
    SELECT event.id, event.at
    FROM event
    WHERE (event.xid, event.id) > (reader.xid, reader.id)
    ORDER BY event.xid, event.id
    LIMIT 1
) AS unread ON true
ORDER BY reader.name;

-- name: tend_log
-- Make the days from today to $1 days ahead, and drop the days before $2 that every reader has passed.
SELECT tend_event_log($1, $2);

-- name: take_turn
-- Whether reader $1 is this connection's to run from now on.
SELECT pg_try_advisory_lock(7236003, hashtext($1));

-- name: wait_for_turn
-- Wait until reader $1 is this connection's to run.
SELECT pg_advisory_lock(7236003, hashtext($1));

-- name: offer_turn
-- Hand reader $1 to whoever waits for it; true when nobody does and it stays this connection's.
SELECT kept FROM (SELECT pg_advisory_unlock(7236003, hashtext($1)) AS given, pg_try_advisory_lock(7236003, hashtext($1)) AS kept) AS turn;
