-- name: open_order
-- Write a pending order with its lines and first note, unless the shopper's key has opened one before: then no
-- row comes back. Two requests with one key at once: the later waits here until the earlier has committed.
WITH opened AS (
    INSERT INTO orders (
        number, shopper_id, idempotency_key, request_digest, cart_version, cart_change, status, email, currency,
        subtotal_minor, shipping_minor, tax_minor, tax_included, total_minor,
        shipping_method, shipping_address, billing_address, pending_until
    )
    VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
    ON CONFLICT (shopper_id, idempotency_key) DO NOTHING
    RETURNING id, number, status, request_digest
), lines AS (
    INSERT INTO order_line (order_id, position, sku, title, quantity, unit_price_minor, tax_minor, total_minor)
    SELECT opened.id, line.position, line.sku, line.title, line.quantity, line.unit_price_minor, line.tax_minor, line.total_minor
    FROM opened, unnest($18::text[], $19::text[], $20::int[], $21::bigint[], $22::bigint[], $23::bigint[])
        WITH ORDINALITY AS line (sku, title, quantity, unit_price_minor, tax_minor, total_minor, position)
), noted AS (
    INSERT INTO order_change (order_id, status, note) SELECT id, 'pending', 'Order received.' FROM opened
)
SELECT id, number, status, request_digest, true AS fresh FROM opened;

-- name: find_by_key
-- The order that shopper $1 opened with idempotency key $2.
SELECT id, number, status, request_digest, false AS fresh FROM orders WHERE shopper_id = $1 AND idempotency_key = $2;

-- name: decide_order
-- A pending order ($1) becomes $2 with note $3; no row when somebody else decided it first.
WITH decided AS (
    UPDATE orders SET status = $2, pending_until = NULL WHERE id = $1 AND status = 'pending' RETURNING id
), noted AS (
    INSERT INTO order_change (order_id, status, note) SELECT id, $2, $3 FROM decided
)
SELECT id FROM decided;

-- name: lock_order
-- The order with number $1, locked until the transaction ends.
SELECT id, number, shopper_id, status, currency, total_minor, refunded_minor FROM orders WHERE number = $1 FOR UPDATE;

-- name: cancel_order
-- A paid order ($1) becomes cancelled, with note $2.
WITH cancelled AS (
    UPDATE orders SET status = 'cancelled' WHERE id = $1 RETURNING id
)
INSERT INTO order_change (order_id, status, note) SELECT id, 'cancelled', $2 FROM cancelled;

-- name: record_refund
-- $2 minor units of order $1 went back to the buyer, with note $3; a cancelled order stays cancelled.
WITH refunded AS (
    UPDATE orders
    SET refunded_minor = refunded_minor + $2,
        status = CASE
            WHEN status = 'cancelled' THEN 'cancelled'
            WHEN refunded_minor + $2 = total_minor THEN 'refunded'
            ELSE 'partially_refunded'
        END
    WHERE id = $1
    RETURNING id, status
)
INSERT INTO order_change (order_id, status, note) SELECT id, status, $3 FROM refunded;

-- name: find_order
-- One order by its number: its lines as they were bought, its life from the beginning, and what a buyer may see of its
-- payment.
SELECT
    orders.*, payment.status AS payment_status, payment.card_brand, payment.card_last4, payment.decline_reason,
    (
        SELECT jsonb_agg(to_jsonb(order_line) ORDER BY order_line.position) FROM order_line WHERE order_line.order_id = orders.id
    ) AS lines,
    (
        SELECT jsonb_agg(to_jsonb(order_change) ORDER BY order_change.id) FROM order_change
        WHERE order_change.order_id = orders.id
    ) AS changes
FROM orders
LEFT JOIN payment ON payment.order_id = orders.id
WHERE orders.number = $1;

-- name: list_orders
-- The shopper's ($1) orders before the one with id $2, newest first, at most $3, with the units in each.
SELECT page.id, page.number, page.status, page.currency, page.total_minor, page.placed_at, items.quantity AS items
FROM (
    SELECT id, number, status, currency, total_minor, placed_at
    FROM orders
    WHERE shopper_id = $1 AND id < $2
    ORDER BY id DESC
    LIMIT $3
) AS page
CROSS JOIN LATERAL (SELECT coalesce(sum(quantity), 0) AS quantity FROM order_line WHERE order_id = page.id) AS items
ORDER BY page.id DESC;

-- name: overdue_orders
-- At most $1 pending orders whose payment should be known by now, the longest waiting first.
SELECT
    orders.id, orders.number, orders.shopper_id, orders.cart_version, orders.cart_change,
    (SELECT jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity)) FROM order_line WHERE order_id = orders.id) AS lines
FROM orders
WHERE status = 'pending' AND pending_until < now()
ORDER BY pending_until
LIMIT $1;
