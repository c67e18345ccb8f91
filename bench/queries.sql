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

-- name: make_fraud_tables
-- Tables for the links that the graph has: each order's things with its account, and who was seen with what, both ways.
CREATE UNLOGGED TABLE fraud_link (thing text NOT NULL, account text NOT NULL, at bigint NOT NULL, is_fraud boolean NOT NULL);
CREATE UNLOGGED TABLE fraud_pair (one text NOT NULL, other text NOT NULL);

-- name: index_fraud_tables
-- What the question below is looked up by.
CREATE INDEX fraud_link_thing ON fraud_link (thing, at) INCLUDE (account, is_fraud);
CREATE INDEX fraud_pair_one ON fraud_pair (one) INCLUDE (other);
ANALYZE fraud_link;
ANALYZE fraud_pair;

-- name: fraud_question
-- Of the things $1 at time $2: orders in all and in five windows, accounts, frauds; and what can be reached from them in two steps, how
-- many of it, and how far the next known fraud is. Nobody walks through what has more than 60 neighbours.
WITH RECURSIVE walk (thing, depth) AS (
    SELECT thing, 1 FROM unnest($1::text[]) AS own (thing)
    UNION
    SELECT fraud_pair.other, walk.depth + 1
    FROM walk
    JOIN fraud_pair ON fraud_pair.one = walk.thing
    WHERE walk.depth < 3
        AND (SELECT count(*) FROM (SELECT FROM fraud_pair AS near WHERE near.one = walk.thing LIMIT 61) AS few) <= 60
)
SELECT
    thing, count(*) AS orders, count(DISTINCT account) AS accounts, count(*) FILTER (WHERE is_fraud) AS frauds,
    count(*) FILTER (WHERE at >= $2::bigint - 600000000) AS in_minutes, count(*) FILTER (WHERE at >= $2 - 3600000000) AS in_hour,
    count(*) FILTER (WHERE at >= $2 - 86400000000) AS in_day, count(*) FILTER (WHERE at >= $2 - 604800000000) AS in_week,
    count(*) FILTER (WHERE at >= $2 - 2592000000000) AS in_month, NULL::bigint AS reached, NULL::bigint AS hops
FROM fraud_link
WHERE thing = ANY ($1)
GROUP BY thing
UNION ALL
SELECT
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(DISTINCT walk.thing),
    min(walk.depth) FILTER (WHERE EXISTS (SELECT FROM fraud_link WHERE fraud_link.thing = walk.thing AND fraud_link.is_fraud))
FROM walk;
-- name: judged_by
-- How many orders were judged by the model and by caution.
SELECT judged_by, count(*) AS orders FROM risk GROUP BY judged_by;
