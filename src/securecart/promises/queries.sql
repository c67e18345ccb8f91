-- name: count_orders
-- How many orders there are.
SELECT count(*) FROM orders;

-- name: told
-- Orders that are not there as their shoppers were told: numbers $1, totals $2 in minor units, and what was heard last $3.
SELECT 'lost' AS promise, told.number AS key, CASE
    WHEN orders.number IS NULL THEN format('Order %s is not there; its shopper was told that it is %s.', told.number, told.state)
    WHEN orders.total_minor <> told.total_minor
        THEN format('Order %s costs %s; its shopper was told %s.', told.number, orders.total_minor, told.total_minor)
    ELSE format('Order %s is %s; its shopper was told that it is %s.', told.number, orders.status, told.state)
END AS what
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS told (number, total_minor, state)
LEFT JOIN orders USING (number)
WHERE orders.number IS NULL OR orders.total_minor <> told.total_minor OR CASE told.state
    WHEN 'bought' THEN orders.status IN ('pending', 'declined', 'cancelled')
    WHEN 'cancelled' THEN orders.status <> 'cancelled'
    WHEN 'cancelling' THEN orders.status IN ('pending', 'declined')
    ELSE false
END
LIMIT 10000;

-- name: doubled
-- Orders that should be one: of one state of a cart, of one idempotency key, or under one number.
SELECT 'doubled' AS promise, min(number) AS key, format('One cart was bought %s times: %s.', count(*), string_agg(number, ', ')) AS what
FROM orders
WHERE cart_change <> '' AND status NOT IN ('declined', 'cancelled')
GROUP BY shopper_id, cart_change
HAVING count(*) > 1
UNION ALL
SELECT 'doubled', min(number), format('One key opened %s orders: %s.', count(*), string_agg(number, ', '))
FROM orders
GROUP BY shopper_id, idempotency_key
HAVING count(*) > 1
UNION ALL
SELECT 'doubled', number, format('%s orders have the number %s.', count(*), number)
FROM orders
GROUP BY number
HAVING count(*) > 1
LIMIT 10000;

-- name: incomplete
-- Orders whose parts do not belong together: lines and total, stock taken SKU by SKU and held while the payment is not known,
-- payment, refunds, a review of an order that has shipped or ended. `which` is a number made of SKUs and quantities: equal for the
-- same goods, and all but never for others. Of the orders $1 only, or all (NULL).
WITH bought AS (
    SELECT order_id, sum(total_minor) AS goods_minor, sum(quantity) AS units, sum(quantity * (hashtext(sku)::bigint + 8589934592)) AS which
    FROM order_line
    WHERE $1::bigint[] IS NULL OR order_id = ANY ($1)
    GROUP BY order_id
), taken AS (
    SELECT order_id, sum(quantity) AS units, sum(quantity * (hashtext(sku)::bigint + 8589934592)) AS which
    FROM allocation
    WHERE $1::bigint[] IS NULL OR order_id = ANY ($1)
    GROUP BY order_id
), given_back AS (
    SELECT payment_id, sum(amount_minor) AS minor FROM refund WHERE status = 'done' GROUP BY payment_id
), judged AS (
    SELECT orders.number, orders.status, concat_ws(
        ', ',
        CASE WHEN bought.goods_minor IS DISTINCT FROM orders.subtotal_minor
            THEN format('its lines make %s and its goods %s', coalesce(bought.goods_minor, 0), orders.subtotal_minor) END,
        CASE WHEN coalesce(taken.which, 0) <> CASE
            WHEN orders.status IN ('declined', 'cancelled') THEN 0 ELSE coalesce(bought.which, 0)
        END THEN format('%s units are taken for its %s', coalesce(taken.units, 0), bought.units) END,
        CASE WHEN (orders.status = 'pending') <> (hold.order_id IS NOT NULL)
            THEN CASE WHEN hold.order_id IS NULL THEN 'nothing is held for it' ELSE 'its units are still held' END END,
        CASE WHEN payment.id IS NULL THEN 'it has no payment'
            WHEN payment.amount_minor <> orders.total_minor
            THEN format('its payment is of %s and it costs %s', payment.amount_minor, orders.total_minor)
            WHEN payment.status <> 'captured' AND orders.status NOT IN ('pending', 'authorised', 'declined', 'cancelled')
            THEN format('its payment is %s', payment.status)
            WHEN payment.status NOT IN ('captured', 'authorised') AND orders.status = 'authorised'
            THEN format('its payment is %s', payment.status) END,
        CASE WHEN coalesce(given_back.minor, 0) <> orders.refunded_minor
            THEN format('%s was given back and %s noted', coalesce(given_back.minor, 0), orders.refunded_minor) END,
        CASE WHEN review.order_id IS NOT NULL AND (orders.shipped_at IS NOT NULL OR orders.status IN ('pending', 'declined', 'cancelled'))
            THEN 'it waits to be reviewed' END
    ) AS wrong
    FROM orders
    LEFT JOIN bought ON bought.order_id = orders.id
    LEFT JOIN taken ON taken.order_id = orders.id
    LEFT JOIN hold ON hold.order_id = orders.id
    LEFT JOIN payment ON payment.order_id = orders.id
    LEFT JOIN given_back ON given_back.payment_id = payment.id
    LEFT JOIN review ON review.order_id = orders.id AND review.outcome IS NULL
    WHERE $1::bigint[] IS NULL OR orders.id = ANY ($1)
)
SELECT 'incomplete' AS promise, number AS key, format('Order %s (%s): %s.', number, status, wrong) AS what
FROM judged
WHERE wrong <> ''
LIMIT 10000;

-- name: stock
-- SKUs at a place of which more is taken than was received, or whose books say other than the orders do. Of the SKUs $1 only, or
-- all (NULL).
WITH allocated AS (
    SELECT sku, location_id, sum(quantity) AS units
    FROM allocation
    WHERE $1::text[] IS NULL OR sku = ANY ($1)
    GROUP BY sku, location_id
), books AS (
    SELECT
        sku, location_id, coalesce(stock.received, 0) AS received, coalesce(stock.taken, 0) AS taken,
        coalesce(allocated.units, 0) AS units
    FROM (SELECT * FROM stock WHERE $1::text[] IS NULL OR sku = ANY ($1)) AS stock
    FULL JOIN allocated USING (sku, location_id)
)
SELECT
    CASE WHEN greatest(taken, units) > received OR least(taken, received) < 0 THEN 'oversold' ELSE 'stock_odd' END AS promise,
    sku || ' at ' || location_id AS key,
    format('%s at place %s: %s received, %s taken by its books, %s by the orders.', sku, location_id, received, taken, units) AS what
FROM books
WHERE taken <> units OR taken > received OR least(taken, received) < 0
LIMIT 10000;

-- name: received
-- SKUs ($1) of which not as much is received, or sold and left, as arrived ($2), by the lines of the orders themselves.
WITH told AS (
    SELECT sku, units FROM unnest($1::text[], $2::bigint[]) AS told (sku, units)
), books AS (
    SELECT sku, sum(received) AS received, sum(taken) AS taken, sum(received - taken) AS available
    FROM stock
    WHERE sku = ANY ($1::text[])
    GROUP BY sku
), bought AS (
    SELECT
        order_line.sku, sum(order_line.quantity) FILTER (WHERE orders.status <> 'pending') AS units,
        sum(order_line.quantity) FILTER (WHERE orders.status = 'pending') AS held
    FROM order_line
    JOIN orders ON orders.id = order_line.order_id
    WHERE order_line.sku = ANY ($1::text[]) AND orders.status NOT IN ('declined', 'cancelled')
    GROUP BY order_line.sku
), compared AS (
    SELECT
        told.sku, told.units AS told, coalesce(books.received, 0) AS received, coalesce(books.taken, 0) AS taken,
        coalesce(books.available, 0) AS available, coalesce(bought.units, 0) AS bought, coalesce(bought.held, 0) AS held
    FROM told
    LEFT JOIN books USING (sku)
    LEFT JOIN bought USING (sku)
)
SELECT
    CASE WHEN bought + held > told THEN 'oversold' ELSE 'stock_odd' END AS promise, sku AS key,
    format('%s: %s arrived; the orders took %s and wait for %s, %s are left, and the books say %s taken of %s.',
        sku, told, bought, held, available, taken, received) AS what
FROM compared
WHERE received <> told OR taken <> bought + held OR bought + held + available <> told
LIMIT 10000;

-- name: captures
-- What the gateway's book (references $1, statuses $2, amounts $3, given back $4) holds and the orders do not account for.
WITH book AS (
    SELECT reference, status, amount_minor, refunded_minor
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS entry (reference, status, amount_minor, refunded_minor)
    WHERE status = 'captured'
), given_back AS (
    SELECT
        payment.order_id, coalesce(sum(refund.amount_minor) FILTER (WHERE refund.status = 'done'), 0) AS done_minor,
        coalesce(sum(refund.amount_minor) FILTER (WHERE refund.status <> 'refused'), 0) AS decided_minor
    FROM refund
    JOIN payment ON payment.id = refund.payment_id
    GROUP BY payment.order_id
), compared AS (
    SELECT
        book.reference, book.amount_minor, book.refunded_minor, orders.status, orders.total_minor, payment.wanted,
        coalesce(given_back.done_minor, 0) AS done_minor, coalesce(given_back.decided_minor, 0) AS decided_minor
    FROM book
    LEFT JOIN orders ON orders.number = book.reference
    LEFT JOIN payment ON payment.order_id = orders.id
    LEFT JOIN given_back ON given_back.order_id = orders.id
)
SELECT 'captures_without_order' AS promise, reference AS key, format(
    'The gateway captured %s for %s and gave back %s; the order %s.', amount_minor, reference, refunded_minor,
    CASE WHEN status IS NULL THEN 'is not there' ELSE format('is %s and costs %s', status, total_minor) END
) AS what
FROM compared
WHERE CASE
    WHEN status IS NULL OR status = 'declined' THEN amount_minor > refunded_minor
    -- a promise that was to be given up and had been taken before goes back once the gateway has said so
    WHEN status = 'cancelled' THEN amount_minor > greatest(refunded_minor, decided_minor) AND wanted IS NULL
    ELSE amount_minor <> total_minor
END
UNION ALL
SELECT 'refunds_differ', reference, format(
    'The gateway gave back %s of %s; the shop decided on %s and noted %s.', refunded_minor, reference, decided_minor, done_minor
)
FROM compared
WHERE status IS NOT NULL AND refunded_minor NOT BETWEEN done_minor AND decided_minor
UNION ALL
SELECT 'doubled', reference, format('The gateway captured %s times for %s.', count(*), reference)
FROM book
GROUP BY reference
HAVING count(*) > 1
LIMIT 10000;

-- name: uncaptured
-- Paid orders for which the gateway's book (references $1, statuses $2, amounts $3, given back $4) has no capture.
SELECT
    'orders_without_capture' AS promise, orders.number AS key,
    format('Order %s is %s and costs %s; the gateway has %s.', orders.number, orders.status, orders.total_minor, coalesce(
        (SELECT any_entry.status FROM unnest($1::text[], $2::text[]) AS any_entry (reference, status)
         WHERE any_entry.reference = orders.number LIMIT 1), 'never heard of it'
    )) AS what
FROM orders
LEFT JOIN unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS book (reference, status, amount_minor, refunded_minor)
    ON book.reference = orders.number AND (book.status = 'captured' OR (orders.status = 'authorised' AND book.status = 'authorised'))
WHERE orders.status NOT IN ('pending', 'declined', 'cancelled') AND orders.total_minor > 0 AND book.reference IS NULL
LIMIT 10000;

-- name: left_pending
-- What nobody finished: orders that are pending $2 seconds after their time, and what was decided that long ago about promised
-- or captured money and the gateway has not confirmed ($1: all of them, however young).
SELECT 'left_pending' AS promise, number AS key, format('Order %s is pending since %s.', number, placed_at) AS what
FROM orders
WHERE status = 'pending' AND ($1::boolean OR pending_until IS NULL OR pending_until < now() - make_interval(secs => $2))
UNION ALL
SELECT 'left_pending', orders.number, format('The %s of order %s waits since %s.', payment.wanted, orders.number, payment.wanted_at)
FROM payment
JOIN orders ON orders.id = payment.order_id
WHERE payment.wanted IS NOT NULL AND ($1::boolean OR payment.wanted_at < now() - make_interval(secs => $2))
UNION ALL
SELECT 'left_pending', orders.number, format('A refund of %s for %s waits since %s.', refund.amount_minor, orders.number, refund.created_at)
FROM refund
JOIN payment ON payment.id = refund.payment_id
JOIN orders ON orders.id = payment.order_id
WHERE refund.status = 'pending' AND ($1::boolean OR refund.created_at < now() - make_interval(secs => $2))
LIMIT 10000;
