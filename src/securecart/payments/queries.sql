-- name: expect_payment
-- Order $1 is about to be paid through gateway $2: currency $3, $4 minor units.
INSERT INTO payment (order_id, gateway, status, currency, amount_minor) VALUES ($1, $2, 'pending', $3, $4);

-- name: capture_payment
-- The gateway captured order $1's money: its id $2, card brand $3 and last four digits $4.
UPDATE payment SET status = 'captured', gateway_id = $2, card_brand = $3, card_last4 = $4 WHERE order_id = $1;

-- name: decline_payment
-- The gateway declined order $1's payment or will never be asked again: its id $2, card brand $3, last four $4, reason $5.
UPDATE payment
SET status = 'declined', gateway_id = $2, card_brand = $3, card_last4 = $4, decline_reason = $5
WHERE order_id = $1;

-- name: open_refund
-- Decide on a refund of $3 minor units of order $1 (NULL: all that is left) under key $2 for reason $4. No row
-- when the key was used before, or when that much is not left after the refunds that are done or under way.
WITH paid AS (
    SELECT payment.id, payment.order_id, payment.gateway_id, payment.currency, payment.amount_minor - (
        SELECT coalesce(sum(refund.amount_minor), 0) FROM refund WHERE refund.payment_id = payment.id
    ) AS left_minor
    FROM payment
    WHERE payment.order_id = $1 AND payment.status = 'captured'
), opened AS (
    INSERT INTO refund (payment_id, idempotency_key, amount_minor, reason, status)
    SELECT id, $2, coalesce($3::bigint, left_minor), $4, 'pending'
    FROM paid
    WHERE left_minor > 0 AND coalesce($3::bigint, left_minor) BETWEEN 1 AND left_minor
    ON CONFLICT (payment_id, idempotency_key) DO NOTHING
    RETURNING id, amount_minor, reason
)
SELECT opened.id, paid.order_id, paid.gateway_id, opened.amount_minor, paid.currency, opened.reason, false AS done
FROM opened, paid;

-- name: find_refund
-- The refund of order $1 that key $2 opened.
SELECT
    refund.id, payment.order_id, payment.gateway_id, refund.amount_minor, payment.currency, refund.reason,
    refund.status = 'done' AS done
FROM refund
JOIN payment ON payment.id = refund.payment_id
WHERE payment.order_id = $1 AND refund.idempotency_key = $2;

-- name: finish_refund
-- The gateway confirmed refund $1 with its id $2; no row when that was noted before.
UPDATE refund SET status = 'done', gateway_id = $2 WHERE id = $1 AND status = 'pending' RETURNING id;

-- name: unfinished_refunds
-- At most $2 refunds that are decided since $1 seconds but not confirmed, oldest first.
SELECT
    refund.id, payment.order_id, payment.gateway_id, refund.amount_minor, payment.currency, refund.reason, false AS done
FROM refund
JOIN payment ON payment.id = refund.payment_id
WHERE refund.status = 'pending' AND refund.created_at < now() - make_interval(secs => $1)
ORDER BY refund.id
LIMIT $2;
