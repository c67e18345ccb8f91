-- The event log: what the shop did, written inside the transaction that did it, read in order by readers with cursors.
--
-- A row's place is (xid, id): the transaction that wrote it, then its own number. Readers take only rows below the
-- oldest transaction that still runs, so one that commits late is never skipped. Days are partitions, and a day is
-- dropped once every reader has passed it.

CREATE SEQUENCE event_id;

CREATE TABLE event (
    xid  xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id   bigint NOT NULL DEFAULT nextval('event_id'),
    at   timestamptz NOT NULL DEFAULT now(),
    body jsonb NOT NULL,
    PRIMARY KEY (xid, id, at)
) PARTITION BY RANGE (at);

-- where rows go while nobody makes the days ahead: no sale stops because a worker is down
CREATE TABLE event_default PARTITION OF event DEFAULT;

-- how far each reader has come; a reader that is not here begins where the log begins
CREATE TABLE reader (
    name     text PRIMARY KEY,
    xid      xid8 NOT NULL DEFAULT '0',
    id       bigint NOT NULL DEFAULT 0,
    -- when the last event it passed was written
    passed   timestamptz,
    moved_at timestamptz NOT NULL DEFAULT now()
);

-- whoever writes an event wakes the readers; one knock a transaction, however many rows
CREATE FUNCTION knock_at_readers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('event', '');
    RETURN NULL;
END $$;
CREATE TRIGGER event_knocks AFTER INSERT ON event FOR EACH STATEMENT EXECUTE FUNCTION knock_at_readers();

-- the number of the newest event that was begun; cheap, for measuring how far readers are behind
CREATE FUNCTION newest_event_id() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM event_id;
$$;

-- Make the days from today to `days_ahead`, and drop the whole days before `keep_from` that every reader has passed; names
-- what was made and dropped. A day that overlaps rows in the default partition waits until those rows are gone.
CREATE FUNCTION tend_event_log(days_ahead integer, keep_from timestamptz) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    done text[] := '{}';
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    part record;
    unread boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(7236002);
    FOR day IN SELECT today + n FROM generate_series(0, days_ahead) AS n LOOP
        CONTINUE WHEN to_regclass(format('event_%s', to_char(day, 'YYYYMMDD'))) IS NOT NULL;
        CONTINUE WHEN EXISTS (
            SELECT FROM event_default WHERE at >= day::timestamp AT TIME ZONE 'UTC' AND at < (day + 1)::timestamp AT TIME ZONE 'UTC'
        );
        EXECUTE format(
            'CREATE TABLE event_%s PARTITION OF event FOR VALUES FROM (%L) TO (%L)', to_char(day, 'YYYYMMDD'),
            day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'
        );
        done := done || format('made event_%s', to_char(day, 'YYYYMMDD'));
    END LOOP;
    FOR part IN
        SELECT child.relname AS name FROM pg_inherits
        JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
        WHERE pg_inherits.inhparent = 'event'::regclass AND child.relname ~ '^event_\d{8}$'
          AND (to_date(right(child.relname, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' <= least(keep_from, now())
        ORDER BY child.relname
    LOOP
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM %I AS event CROSS JOIN reader WHERE (event.xid, event.id) > (reader.xid, reader.id))', part.name
        ) INTO unread;
        CONTINUE WHEN unread OR NOT EXISTS (SELECT FROM reader);
        EXECUTE format('DROP TABLE %I', part.name);
        done := done || format('dropped %s', part.name);
    END LOOP;
    DELETE FROM event_default
    WHERE at < least(keep_from, now()) AND EXISTS (SELECT FROM reader)
      AND NOT EXISTS (SELECT FROM reader WHERE (event_default.xid, event_default.id) > (reader.xid, reader.id));
    RETURN done;
END $$;
SELECT tend_event_log(7, now());

-- one state of a cart is bought once: a second order for it, from another tab with another key, finds the first
CREATE UNIQUE INDEX orders_one_a_cart ON orders (shopper_id, cart_change)
    WHERE cart_change <> '' AND status NOT IN ('declined', 'cancelled');
