-- name: some_goods
-- $1 active products that have a price in currency $2, spread evenly over the catalogue and the same in every run.
SELECT product.slug, product.title, variant.sku, price.amount_minor AS price_minor
FROM product
JOIN variant ON variant.product_id = product.id
JOIN price ON price.sku = variant.sku AND price.currency = $2
WHERE product.active AND price.amount_minor > 0
ORDER BY md5(variant.sku)
LIMIT $1;

-- name: orders_of_shoppers
-- How many orders the shoppers $1 have in all.
SELECT count(*) FROM orders WHERE shopper_id = ANY ($1::text[]);

-- name: statements_sent
-- How many statements this role has sent to this database, by the server's own count.
SELECT coalesce(sum(calls), 0)::bigint
FROM pg_stat_statements
WHERE userid = current_user::regrole AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: shoppers_with_orders
-- The $1 shoppers with the newest orders.
SELECT shopper_id FROM orders GROUP BY shopper_id ORDER BY max(id) DESC LIMIT $1;

-- name: sizes
-- Bytes of the database, and of all log that its server has written since it was made.
SELECT pg_database_size(current_database()) AS database, (pg_current_wal_lsn() - '0/1000000'::pg_lsn)::bigint AS log;
