-- name: some_goods
-- $1 active products that have a price in currency $2, spread evenly over the catalogue and the same in every run.
SELECT product.slug, product.title, variant.sku, price.amount_minor AS price_minor
FROM product
JOIN variant ON variant.product_id = product.id
JOIN price ON price.sku = variant.sku AND price.currency = $2
WHERE product.active AND price.amount_minor > 0
ORDER BY md5(variant.sku)
LIMIT $1;

-- name: receive_bare_stock
-- Stock of made-up SKUs for the bare SQL: those named $1, each $2 units at the main location.
INSERT INTO stock (sku, location_id, received)
SELECT sku, (SELECT id FROM location WHERE code = 'main'), $2
FROM unnest($1::text[]) AS given (sku)
ON CONFLICT (sku, location_id) DO UPDATE SET received = stock.received + excluded.received;

-- name: forget_bare_orders
-- Take away every order that the bare SQL wrote under the shopper $1, with its lines, notes and payment.
DELETE FROM orders WHERE shopper_id = $1;

-- name: forget_bare_stock
-- Take away the made-up SKUs $1.
DELETE FROM stock WHERE sku = ANY ($1::text[]);

-- name: acknowledged_orders
-- How many of the acknowledged orders (numbers $1, totals $2) are there as acknowledged: paid, that total on the order,
-- on its payment and in its lines, and every unit of it sold from stock.
SELECT count(*)
FROM unnest($1::text[], $2::bigint[]) AS acknowledged (number, total_minor)
JOIN orders ON orders.number = acknowledged.number AND orders.total_minor = acknowledged.total_minor AND orders.status = 'paid'
JOIN payment ON payment.order_id = orders.id AND payment.status = 'captured' AND payment.amount_minor = orders.total_minor
CROSS JOIN LATERAL (
    SELECT sum(total_minor) AS total_minor, sum(quantity) AS units FROM order_line WHERE order_id = orders.id
) AS bought
CROSS JOIN LATERAL (SELECT sum(quantity) AS units FROM allocation WHERE order_id = orders.id) AS sold
WHERE bought.total_minor = orders.subtotal_minor AND bought.units = sold.units;

-- name: orders_of_shoppers
-- How many orders the shoppers $1 have in all.
SELECT count(*) FROM orders WHERE shopper_id = ANY ($1::text[]);

-- name: stock_that_does_not_add_up
-- Those of the SKUs $1 whose sold units are not what orders were given, or whose reserved units are not what orders hold.
WITH given AS (
    SELECT sku, location_id, sum(quantity) AS units FROM allocation WHERE sku = ANY ($1::text[]) GROUP BY sku, location_id
), held AS (
    SELECT sku, location_id, sum(quantity) AS units FROM reservation WHERE sku = ANY ($1::text[]) GROUP BY sku, location_id
)
SELECT stock.sku
FROM stock
LEFT JOIN given USING (sku, location_id)
LEFT JOIN held USING (sku, location_id)
WHERE stock.sku = ANY ($1::text[])
  AND (stock.sold <> coalesce(given.units, 0) OR stock.reserved <> coalesce(held.units, 0));

-- name: statements_sent
-- How many statements this role has sent to this database, by the server's own count.
SELECT coalesce(sum(calls), 0)::bigint
FROM pg_stat_statements
WHERE userid = current_user::regrole AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database());
