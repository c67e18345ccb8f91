-- name: expect_payments
-- The orders $1 are about to be paid through gateway $2: currencies $3, minor units $4.
INSERT INTO payment (order_id, gateway, status, currency, amount_minor)
SELECT order_id, $2, 'pending', currency, amount_minor
FROM unnest($1::bigint[], $3::text[], $4::bigint[]) AS asked (order_id, currency, amount_minor);

-- name: record_charges
-- The gateway's word on the orders $1: status $2, its id $3, card brand $4, last four digits $5, reason of a decline $6.
UPDATE payment
SET status = word.status, gateway_id = word.gateway_id, card_brand = word.brand, card_last4 = word.last4,
    decline_reason = word.reason
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS word (order_id, status, gateway_id, brand, last4, reason)
WHERE payment.order_id = word.order_id;

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
