-- name: unfinished
-- What the sweeper has still to do: orders that are pending, and decisions about money that the gateway has not confirmed.
SELECT
    (SELECT count(*) FROM orders WHERE status = 'pending') AS orders,
    (SELECT count(*) FROM refund WHERE status = 'pending')
    + (SELECT count(*) FROM payment WHERE wanted IS NOT NULL) AS decisions;
