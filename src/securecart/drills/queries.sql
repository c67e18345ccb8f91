-- name: unfinished
-- What the sweeper has still to do: orders that are pending, and decisions about money that the gateway has not confirmed.
SELECT
    (SELECT count(*) FROM orders WHERE status = 'pending') AS orders,
    (SELECT count(*) FROM refund WHERE status = 'pending')
    + (SELECT count(*) FROM payment WHERE wanted IS NOT NULL) AS decisions;

-- name: pending_of
-- The orders of these shoppers that wait for the gateway's word at this moment.
SELECT number FROM orders WHERE email = ANY ($1) AND status = 'pending';

-- name: still_pending
-- How many of these orders still wait for it.
SELECT count(*) FROM orders WHERE number = ANY ($1) AND status = 'pending';
