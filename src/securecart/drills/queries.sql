-- name: unfinished
-- What the sweeper has still to do: orders that are pending, and refunds that the gateway has not confirmed.
SELECT
    (SELECT count(*) FROM orders WHERE status = 'pending') AS orders,
    (SELECT count(*) FROM refund WHERE status = 'pending') AS refunds;
