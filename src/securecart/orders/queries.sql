-- name: open_orders
-- Write pending orders with their lines and first notes. An order whose shopper opened one before with the same key, or
-- has bought the same state of the cart, is left out. Of two who come with one key at once, the later waits here until
-- the earlier has committed. Lines name their order by its number $18; the first note of each order is $25.
WITH opened AS (
    INSERT INTO orders (
        number, shopper_id, idempotency_key, request_digest, cart_version, cart_change, status, email, currency,
        subtotal_minor, shipping_minor, tax_minor, tax_included, total_minor,
        shipping_method, shipping_address, billing_address, pending_until
    )
    SELECT
        number, shopper_id, idempotency_key, request_digest, cart_version, cart_change, 'pending', email, currency,
        subtotal_minor, shipping_minor, tax_minor, tax_included, total_minor,
        shipping_method, shipping_address, billing_address, pending_until
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::text[], $7::text[], $8::text[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::boolean[], $13::bigint[],
        $14::text[], $15::jsonb[], $16::jsonb[], $17::timestamptz[]
    ) WITH ORDINALITY AS wish (
        number, shopper_id, idempotency_key, request_digest, cart_version, cart_change, email, currency,
        subtotal_minor, shipping_minor, tax_minor, tax_included, total_minor,
        shipping_method, shipping_address, billing_address, pending_until, arrival
    )
    ORDER BY arrival
    ON CONFLICT DO NOTHING
    RETURNING id, number, placed_at
), lines AS (
    INSERT INTO order_line (order_id, position, sku, title, quantity, unit_price_minor, tax_minor, total_minor)
    SELECT
        opened.id, row_number() OVER (PARTITION BY line.number ORDER BY line.arrival), line.sku, line.title, line.quantity,
        line.unit_price_minor, line.tax_minor, line.total_minor
    FROM unnest(
        $18::text[], $19::text[], $20::text[], $21::int[], $22::bigint[], $23::bigint[], $24::bigint[]
    ) WITH ORDINALITY AS line (number, sku, title, quantity, unit_price_minor, tax_minor, total_minor, arrival)
    JOIN opened USING (number)
), noted AS (
    INSERT INTO order_change (order_id, status, note) SELECT id, 'pending', $25 FROM opened
)
SELECT id, number, placed_at FROM opened;

-- name: find_opened
-- Of each of the shoppers $1: the order that was opened with the idempotency key $2, and else the one that bought the state
-- of the cart $3.
SELECT wish.position - 1 AS position, known.*
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS wish (shopper_id, idempotency_key, cart_change, position)
CROSS JOIN LATERAL (
    SELECT id, number, status, request_digest, placed_at, idempotency_key = wish.idempotency_key AS by_key
    FROM orders
    WHERE shopper_id = wish.shopper_id AND idempotency_key = wish.idempotency_key
    UNION ALL
    SELECT id, number, status, request_digest, placed_at, false
    FROM orders
    WHERE shopper_id = wish.shopper_id AND cart_change = wish.cart_change AND cart_change <> ''
      AND status NOT IN ('declined', 'cancelled')
    ORDER BY by_key DESC
    LIMIT 1
) AS known;

-- name: find_by_key
-- The order that shopper $1 opened with idempotency key $2.
SELECT id, number, status, request_digest, placed_at, false AS fresh FROM orders WHERE shopper_id = $1 AND idempotency_key = $2;

-- name: decide_orders
-- Pending orders ($1) become $2, each with its note $3; those that somebody else decided first are left out.
WITH decided AS (
    UPDATE orders
    SET status = word.status, pending_until = NULL
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS word (order_id, status, note)
    WHERE orders.id = word.order_id AND orders.status = 'pending'
    RETURNING orders.id, orders.status, word.note, orders.number, orders.shopper_id, orders.cart_version, orders.cart_change
), noted AS (
    INSERT INTO order_change (order_id, status, note) SELECT id, status, note FROM decided
)
SELECT id, status, number, shopper_id, cart_version, cart_change, now() AS at FROM decided;

-- name: lock_order
-- The order with number $1, locked until the transaction ends.
SELECT id, number, shopper_id, status, currency, total_minor, refunded_minor, shipped_at
FROM orders
WHERE number = $1
FOR UPDATE;

-- name: name_orders
-- The orders with the numbers $1.
SELECT id, number, shopper_id FROM orders WHERE number = ANY ($1::text[]) ORDER BY id;

-- name: change_order
-- Order $1 has status $2 now, with note $3; its goods have left the house when $4.
WITH changed AS (
    UPDATE orders SET status = $2, shipped_at = CASE WHEN $4 THEN now() ELSE shipped_at END WHERE id = $1 RETURNING id, status
)
INSERT INTO order_change (order_id, status, note) SELECT id, status, $3 FROM changed;

-- name: note_order
-- Something to know about order $1 that leaves it as it is: $2.
INSERT INTO order_change (order_id, status, note) SELECT id, status, $2 FROM orders WHERE id = $1;

-- name: wait_longer
-- Pending order $1 is not asked about for $2 seconds from now; with note $3 unless that is empty.
WITH waiting AS (
    UPDATE orders
    SET pending_until = now() + make_interval(secs => $2)
    WHERE id = $1 AND status = 'pending'
    RETURNING id, status
)
INSERT INTO order_change (order_id, status, note) SELECT id, status, $3 FROM waiting WHERE $3 <> '';

-- name: record_refund
-- $2 minor units of order $1 went back to the buyer, with note $3; an order that has ended stays as it is.
WITH refunded AS (
    UPDATE orders
    SET refunded_minor = refunded_minor + $2,
        status = CASE
            WHEN status IN ('cancelled', 'declined') THEN status
            WHEN refunded_minor + $2 = total_minor THEN 'refunded'
            ELSE 'partially_refunded'
        END
    WHERE id = $1
    RETURNING id, status, shopper_id
), noted AS (
    INSERT INTO order_change (order_id, status, note) SELECT id, status, $3 FROM refunded
)
SELECT shopper_id FROM refunded;

-- name: find_order
-- One order by its number: its lines as they were bought, its life from the beginning, and what a buyer may see of its
-- payment.
SELECT
    orders.*, payment.status AS payment_status, payment.card_brand, payment.card_last4, payment.decline_reason,
    payment.action,
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

-- name: find_paying
-- The order with number $1, as whoever asks the gateway about its payment needs it.
SELECT
    orders.id, orders.number, orders.shopper_id, orders.status, orders.cart_version, orders.cart_change, orders.placed_at,
    orders.currency, orders.total_minor,
    (SELECT jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity)) FROM order_line WHERE order_id = orders.id) AS lines
FROM orders
WHERE number = $1;

-- name: overdue_orders
-- At most $1 pending orders whose payment through gateway $2 should be known by now, the longest waiting first.
SELECT
    orders.id, orders.number, orders.shopper_id, orders.status, orders.cart_version, orders.cart_change, orders.placed_at,
    orders.currency, orders.total_minor,
    (SELECT jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity)) FROM order_line WHERE order_id = orders.id) AS lines
FROM orders
JOIN payment ON payment.order_id = orders.id AND payment.gateway = $2
WHERE orders.status = 'pending' AND orders.pending_until < now()
ORDER BY orders.pending_until
LIMIT $1;

-- name: bought_carts
-- The cart that each of the orders $1 has bought: whose, in which state, and what was in it.
SELECT
    orders.shopper_id, orders.cart_version, orders.cart_change,
    (SELECT jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity)) FROM order_line WHERE order_id = orders.id) AS lines
FROM orders
WHERE orders.id = ANY ($1::bigint[])
ORDER BY orders.id;

-- name: buyers_of_carts
-- The orders that have bought the carts of the shoppers $1 as the changes $2 had left them.
SELECT orders.id
FROM unnest($1::text[], $2::text[]) AS state (shopper_id, change)
JOIN orders ON orders.shopper_id = state.shopper_id AND orders.cart_change = state.change
WHERE orders.cart_change <> '' AND orders.status NOT IN ('declined', 'cancelled') AND orders.status <> 'pending';
