-- name: history_entries
-- The orders with the ids $1 as their history shows them, with the units in each.
SELECT
    orders.id AS order_id, orders.shopper_id, orders.number, orders.status, orders.currency, orders.total_minor,
    orders.placed_at, items.quantity AS items
FROM orders
CROSS JOIN LATERAL (SELECT coalesce(sum(quantity), 0) AS quantity FROM order_line WHERE order_id = orders.id) AS items
WHERE orders.id = ANY ($1::bigint[]);

-- name: history_page
-- At most $2 orders behind the id $1, oldest first, as their history shows them.
SELECT
    page.id AS order_id, page.shopper_id, page.number, page.status, page.currency, page.total_minor, page.placed_at,
    items.quantity AS items
FROM (
    SELECT id, shopper_id, number, status, currency, total_minor, placed_at FROM orders WHERE id > $1 ORDER BY id LIMIT $2
) AS page
CROSS JOIN LATERAL (SELECT coalesce(sum(quantity), 0) AS quantity FROM order_line WHERE order_id = page.id) AS items
ORDER BY page.id;
