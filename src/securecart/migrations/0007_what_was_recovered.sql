-- Rows that were brought back while the shop sold on: one row a recovery, written in the transaction that did it.
CREATE TABLE recovery (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- the transaction of the recovery itself, so that it is never taken for an accident
    xid       bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    at        timestamptz NOT NULL DEFAULT now(),
    -- the accident, where it was one transaction; the log knows only the lower half of its number, so its commit's time belongs to it
    undone    bigint,
    undone_at timestamptz
);

-- Rows whose counters a recovery corrected: the accident's part was taken out, what was counted since left. That cannot be seen
-- in the counters themselves, and must not be done twice.
CREATE TABLE corrected (
    recovery_id bigint NOT NULL REFERENCES recovery (id),
    relation    text NOT NULL,
    key         text[] NOT NULL,
    PRIMARY KEY (recovery_id, relation, key)
);
