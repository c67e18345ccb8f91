-- name: count_orders
-- How many orders there are.
SELECT count(*) FROM orders;

-- name: orders_since
-- Orders that were placed or changed from $1 on, as the database has them, with what their payment holds.
SELECT
    orders.id, orders.number, orders.shopper_id, orders.email, orders.placed_at, orders.status, orders.currency,
    orders.total_minor, orders.refunded_minor, coalesce(payment.gateway, '') AS gateway, coalesce(payment.gateway_id, '') AS gateway_id,
    coalesce(payment.status = 'captured', false) AS captured
FROM orders
LEFT JOIN payment ON payment.order_id = orders.id
WHERE orders.id IN (SELECT id FROM orders WHERE placed_at >= $1 UNION SELECT order_id FROM order_change WHERE at >= $1)
ORDER BY orders.id;

-- name: accounts_since
-- Accounts that were made from $1 on.
SELECT id, email, created_at FROM account WHERE created_at >= $1 ORDER BY created_at;

-- name: sequences
-- The last number that each sequence has given out.
SELECT sequencename AS name, last_value AS last FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL;

-- name: move_sequences
-- The sequences $1 go on behind the numbers $2, unless they are further already.
SELECT setval(format('public.%I', sequencename)::regclass, word.last) AS last
FROM unnest($1::text[], $2::bigint[]) AS word (name, last)
JOIN pg_sequences ON schemaname = 'public' AND sequencename = word.name
WHERE coalesce(last_value, 0) < word.last;

-- name: orders_here
-- Those of the orders $1 that are there, and how they stand.
SELECT number, status, refunded_minor FROM orders WHERE number = ANY ($1::text[]);

-- name: accounts_here
-- Those of the accounts $1 that are there.
SELECT id FROM account WHERE id = ANY ($1::uuid[]);
