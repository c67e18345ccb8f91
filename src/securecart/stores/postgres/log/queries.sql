-- name: publish
-- Write the facts $1 into the event log, in order, as part of the caller's transaction.
INSERT INTO event (body) SELECT body FROM unnest($1::jsonb[]) WITH ORDINALITY AS fact (body, position) ORDER BY position;
