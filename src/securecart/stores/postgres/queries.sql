-- name: look
-- What a node of PostgreSQL says of itself: whether it follows another, its timeline where it writes, how far its log is
-- written (or, where it follows, replayed), the age in seconds of the last commit that it replayed, and how far it has the
-- log of the node that it follows and the timeline that it receives. Positions count bytes of the log. The timeline is taken
-- from a log file's name: pg_control_checkpoint knows a new one only minutes later.
SELECT
    recovering AS in_recovery,
    CASE WHEN recovering THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline,
    (CASE WHEN recovering THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::bigint AS position,
    CASE WHEN recovering THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END AS replayed_s,
    NULL::float8 AS lag_s,
    CASE WHEN recovering THEN (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn)::bigint END AS received,
    received_timeline() AS receives
FROM (SELECT pg_is_in_recovery() AS recovering OFFSET 0) AS node;

-- name: look_at_aurora
-- The same of a node of Aurora, which has no such functions: its storage knows how far each node is, and how late.
SELECT
    session_id <> 'MASTER_SESSION_ID' AS in_recovery,
    0 AS timeline,
    durable_lsn::bigint AS position,
    NULL::float8 AS replayed_s,
    (CASE WHEN session_id <> 'MASTER_SESSION_ID' THEN replica_lag_in_msec END / 1000)::float8 AS lag_s
FROM aurora_replica_status()
WHERE server_id = aurora_db_instance_identifier();

-- name: look_barely
-- The same of a node that tells only whether it follows another.
SELECT pg_is_in_recovery() AS in_recovery, 0 AS timeline, NULL::bigint AS position, NULL::float8 AS replayed_s, NULL::float8 AS lag_s;

-- name: position
-- How far the writer's log is written, in bytes; a commit that was acknowledged is before it.
SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint;

-- name: replayed
-- How far this node has come: what it has written, or replayed of another's.
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::bigint;
