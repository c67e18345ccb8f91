-- name: expect_payments
-- The orders $1 are about to be paid through gateway $2: currencies $3, minor units $4.
INSERT INTO payment (order_id, gateway, status, currency, amount_minor)
SELECT order_id, $2, 'pending', currency, amount_minor
FROM unnest($1::bigint[], $3::text[], $4::bigint[]) AS asked (order_id, currency, amount_minor);

-- name: record_charges
-- The gateway's word on the orders $1: status $2, its id $3, card brand $4, last four digits $5, fingerprint $6,
-- reason of a decline $7, the card's country $8.
UPDATE payment
SET status = word.status, gateway_id = word.gateway_id, card_brand = word.brand, card_last4 = word.last4,
    card_fingerprint = word.fingerprint, card_country = word.country, decline_reason = word.reason, action = NULL
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
    AS word (order_id, status, gateway_id, brand, last4, fingerprint, reason, country)
WHERE payment.order_id = word.order_id;

-- name: keep_action
-- The buyer has to do something before order $1's payment goes on: the gateway's id $2, what the browser needs for it $3.
UPDATE payment SET gateway_id = $2, action = $3 WHERE order_id = $1 AND status = 'pending';

-- name: want
-- Decide that order $1's promised money is taken ('capture' as the goods leave, 'take' while they stay) or given up ('void'), $2.
-- No row when it is not promised, or when something else was decided before.
UPDATE payment
SET wanted = $2, wanted_at = coalesce(wanted_at, now())
FROM orders
WHERE payment.order_id = $1 AND orders.id = payment.order_id
  AND payment.status = 'authorised' AND coalesce(payment.wanted, $2) = $2
RETURNING payment.order_id, orders.number, payment.gateway_id, payment.amount_minor, payment.currency, payment.wanted AS decision;

-- name: unfinished
-- At most $2 decisions about money promised by gateway $3 that are older than $1 seconds and not confirmed, oldest first.
SELECT payment.order_id, orders.number, payment.gateway_id, payment.amount_minor, payment.currency, payment.wanted AS decision
FROM payment
JOIN orders ON orders.id = payment.order_id
WHERE payment.wanted IS NOT NULL AND payment.wanted_at < now() - make_interval(secs => $1) AND payment.gateway = $3
ORDER BY payment.wanted_at
LIMIT $2;

-- name: keep_promise
-- Order $1's promised money became $2: captured or voided; no row when that was noted before.
UPDATE payment SET status = $2, wanted = NULL, wanted_at = NULL WHERE order_id = $1 AND status = 'authorised' RETURNING id;

-- name: wake_payment
-- Money came for order $1, whose payment had ended without any: its status $2, the gateway's id $3; no row when it had not.
UPDATE payment
SET status = $2, gateway_id = $3, decline_reason = ''
WHERE order_id = $1 AND status IN ('declined', 'voided')
RETURNING id;

-- name: open_refund
-- Decide on a refund of $3 minor units of order $1 (NULL: all that is left) under key $2 for reason $4. No row
-- when the key was used before, or when that much is not left after the refunds that are done or under way.
WITH paid AS (
    SELECT payment.id, payment.order_id, payment.gateway_id, payment.currency, payment.amount_minor - (
        SELECT coalesce(sum(refund.amount_minor), 0) FROM refund WHERE refund.payment_id = payment.id AND refund.status <> 'refused'
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
    refund.status <> 'pending' AS done
FROM refund
JOIN payment ON payment.id = refund.payment_id
WHERE payment.order_id = $1 AND refund.idempotency_key = $2;

-- name: finish_refund
-- The gateway confirmed refund $1 with its id $2; no row when that was noted before.
UPDATE refund SET status = 'done', gateway_id = $2 WHERE id = $1 AND status = 'pending' RETURNING id;

-- name: refuse_refund
-- The gateway will never carry out refund $1; no row when its outcome was noted before.
UPDATE refund SET status = 'refused' WHERE id = $1 AND status = 'pending' RETURNING id;

-- name: find_outside_refund
-- The gateway has given back $2 minor units of order $1 in all: what the shop's book does not know of that becomes a refund
-- that is done, with reason $3. No row when the book knows it all.
WITH paid AS (
    SELECT payment.id, $2::bigint - (
        SELECT coalesce(sum(refund.amount_minor), 0) FROM refund
        WHERE refund.payment_id = payment.id AND refund.status <> 'refused'
    ) AS unknown_minor
    FROM payment
    WHERE payment.order_id = $1 AND payment.status = 'captured'
)
INSERT INTO refund (payment_id, idempotency_key, amount_minor, reason, status)
SELECT id, 'gateway:' || $2::bigint, unknown_minor, $3, 'done' FROM paid WHERE unknown_minor > 0
ON CONFLICT (payment_id, idempotency_key) DO NOTHING
RETURNING amount_minor;

-- name: see_notice
-- Notice $2 of gateway $1 is acted upon by this transaction; no row when another has done so. One that is doing it is waited for.
INSERT INTO gateway_notice (gateway, id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id;

-- name: was_seen
-- Whether notice $2 of gateway $1 was acted upon.
SELECT EXISTS (SELECT FROM gateway_notice WHERE gateway = $1 AND id = $2);

-- name: forget_notices
-- Notices older than $1 days, which no gateway sends again.
DELETE FROM gateway_notice WHERE seen_at < now() - make_interval(days => $1);

-- name: unfinished_refunds
-- At most $2 refunds through gateway $3 that are decided since $1 seconds but not confirmed, oldest first.
SELECT
    refund.id, payment.order_id, payment.gateway_id, refund.amount_minor, payment.currency, refund.reason, false AS done
FROM refund
JOIN payment ON payment.id = refund.payment_id
WHERE refund.status = 'pending' AND refund.created_at < now() - make_interval(secs => $1) AND payment.gateway = $3
ORDER BY refund.id
LIMIT $2;
