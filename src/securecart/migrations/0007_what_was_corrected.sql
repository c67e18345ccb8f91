-- A recovery takes an accident's part out of counters and leaves what was counted since. Whether that was done cannot be seen
-- in the counters themselves, so it is noted, in the transaction that does it: repeated, the recovery leaves these rows alone.
CREATE TABLE corrected (
    -- the transaction that was the accident; its number alone comes again after four thousand million others
    xid          bigint NOT NULL,
    committed_at timestamptz NOT NULL,
    relation     text NOT NULL,
    key          text[] NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (xid, committed_at, relation, key)
);
