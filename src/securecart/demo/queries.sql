-- name: recorded_orders
-- What the orders database holds of the baskets with the keys $1: orders whose money was captured, their lines, and
-- their worth in US cents. A basket bought again under a later key ("cj-17.2", after an order that was never paid)
-- counts as that basket; one that was paid twice counts twice, and so shows.
SELECT count(*) AS orders, coalesce(sum(line.lines), 0)::bigint AS lines, coalesce(sum(orders.total_minor), 0)::bigint AS revenue
FROM unnest($1::text[]) AS basket (key)
JOIN orders ON split_part(orders.idempotency_key, '.', 1) = basket.key AND orders.currency = 'USD'
JOIN payment ON payment.order_id = orders.id AND payment.status = 'captured'
CROSS JOIN LATERAL (SELECT count(*) AS lines FROM order_line WHERE order_line.order_id = orders.id) AS line;

-- name: baskets_bought
-- Those of the baskets with the keys $1 whose money was captured.
SELECT DISTINCT basket.key
FROM unnest($1::text[]) AS basket (key)
JOIN orders ON split_part(orders.idempotency_key, '.', 1) = basket.key
JOIN payment ON payment.order_id = orders.id AND payment.status = 'captured';

-- name: is_loaded
-- Whether the demo's product with the highest number has received goods: it is the last one that a load fills.
SELECT EXISTS (
    SELECT
    FROM stock
    WHERE received > 0 AND sku = (
        SELECT sku FROM variant WHERE starts_with(sku, 'CJ-') ORDER BY length(sku) DESC, sku DESC LIMIT 1
    )
);

-- name: is_known
-- Whether SKU $1 is in the catalogue.
SELECT EXISTS (SELECT FROM variant WHERE sku = $1);

-- name: has_other_goods
-- Whether the shop sells something that is not of the demo catalogue.
SELECT EXISTS (SELECT FROM variant WHERE NOT starts_with(sku, 'CJ-'));

-- name: analyze_loaded
-- Let the planner know what a bulk load changed, in every table of whoever asks.
ANALYZE;
