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

-- name: keys
-- The shop's tables that are no part of another one, with the primary key of each as one text.
SELECT class.oid::regclass::text AS name, format('jsonb_build_array(%s)::text', string_agg(quote_ident(attname), ', ' ORDER BY place)) AS key
FROM pg_class AS class
JOIN pg_index AS index ON index.indrelid = class.oid AND index.indisprimary
CROSS JOIN unnest(index.indkey::smallint[]) WITH ORDINALITY AS part (attnum, place)
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum = part.attnum
WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
GROUP BY class.oid;

-- name: cascades
-- Which rows of a table go when a row of another one goes.
SELECT conrelid::regclass::text AS child, quote_ident(child.attname) AS child_column, confrelid::regclass::text AS parent,
    quote_ident(parent.attname) AS parent_column
FROM pg_constraint
JOIN pg_attribute AS child ON child.attrelid = conrelid AND child.attnum = conkey[1]
JOIN pg_attribute AS parent ON parent.attrelid = confrelid AND parent.attnum = confkey[1]
WHERE contype = 'f' AND confdeltype = 'c' AND cardinality(conkey) = 1;

-- name: decided
-- The ids of those of the orders $1 (numbers) about which nothing is left to do.
SELECT orders.id
FROM orders
LEFT JOIN payment ON payment.order_id = orders.id
WHERE orders.number = ANY ($1::text[]) AND orders.status <> 'pending' AND payment.wanted IS NULL
    AND NOT EXISTS (SELECT FROM refund WHERE refund.payment_id = payment.id AND refund.status = 'pending')
ORDER BY orders.id;

-- name: clock
-- What the database's clock shows.
SELECT clock_timestamp();

-- name: sold_at_zero
-- How many units were sold for nothing since $1.
SELECT coalesce(sum(order_line.quantity), 0)::bigint
FROM order_line
JOIN orders ON orders.id = order_line.order_id
WHERE orders.placed_at >= $1 AND order_line.unit_price_minor = 0 AND orders.status NOT IN ('pending', 'declined', 'cancelled');

-- name: priced_skus
-- Every SKU that has a price.
SELECT DISTINCT sku FROM price;

-- name: products_of_skus
-- The products whose variants have the SKUs $1.
SELECT DISTINCT product_id FROM variant WHERE sku = ANY ($1::text[]);

-- name: set_prices
-- The SKUs $1 cost $2 in every currency.
UPDATE price SET amount_minor = $2 WHERE sku = ANY ($1::text[]);
