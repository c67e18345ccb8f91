-- name: keep_risks
-- What the orders $1 were judged by and what was said: device $2, network $3 and its country $4, card $5 and its country $6,
-- probability $7, verdict $8, reasons $9, judged by $10.
INSERT INTO risk (order_id, device, network, network_country, card, card_country, probability, verdict, reasons, judged_by)
SELECT * FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::double precision[], $8::text[], $9::jsonb[],
    $10::text[]
);

-- name: hold
-- Those of the bought orders $1 that are to be reviewed wait from now on, for $2 seconds.
INSERT INTO review (order_id, due_at)
SELECT order_id, now() + make_interval(secs => $2) FROM risk WHERE order_id = ANY ($1::bigint[]) AND verdict = 'review'
ON CONFLICT DO NOTHING
RETURNING order_id;

-- name: decide_review
-- Held order $1 is $2 (released or cancelled) by the word of $3; no row when it is not held, or not any more.
UPDATE review SET outcome = $2, decided_at = now(), decided_by = $3 WHERE order_id = $1 AND outcome IS NULL RETURNING order_id;

-- name: is_held
-- Whether order $1 waits for a person.
SELECT EXISTS (SELECT FROM review WHERE order_id = $1 AND outcome IS NULL);

-- name: waiting
-- At most $3 held orders behind the one with id $2 that is due at $1, the soonest due first, with what was said of each.
SELECT
    review.order_id, orders.number, orders.shopper_id, orders.email, orders.currency, orders.total_minor, orders.placed_at,
    review.held_at, review.due_at, risk.probability, risk.reasons, risk.judged_by
FROM review
JOIN orders ON orders.id = review.order_id
JOIN risk ON risk.order_id = review.order_id
WHERE review.outcome IS NULL AND (review.due_at, review.order_id) > ($1, $2)
ORDER BY review.due_at, review.order_id
LIMIT $3;

-- name: count_waiting
-- How many orders wait for a person.
SELECT count(*) FROM review WHERE outcome IS NULL;

-- name: lapsed
-- At most $1 held orders that nobody decided on in time, the longest overdue first.
SELECT orders.number
FROM review
JOIN orders ON orders.id = review.order_id
WHERE review.outcome IS NULL AND review.due_at < now()
ORDER BY review.due_at, review.order_id
LIMIT $1;

-- name: find_risk
-- What order number $1 was judged by, what became of its review, and what is known of it since; NULL where there is no such.
SELECT
    orders.id AS order_id, orders.number, orders.shopper_id, risk.verdict, risk.probability, risk.reasons, risk.judged_by, risk.device,
    risk.network, risk.network_country, coalesce(nullif(payment.card_fingerprint, ''), risk.card) AS card,
    coalesce(nullif(payment.card_country, ''), risk.card_country) AS card_country,
    CASE WHEN review.order_id IS NOT NULL THEN to_jsonb(review) END AS review,
    CASE WHEN fraud_mark.order_id IS NOT NULL THEN to_jsonb(fraud_mark) END AS mark
FROM orders
LEFT JOIN risk ON risk.order_id = orders.id
LEFT JOIN payment ON payment.order_id = orders.id
LEFT JOIN review ON review.order_id = orders.id
LEFT JOIN fraud_mark ON fraud_mark.order_id = orders.id
WHERE orders.number = $1;

-- name: mark
-- The orders $1 are fraud, or are not, as $2 says; the word of $4 (source $3), with note $5. Those of which the same was said
-- before stay as they are and are no rows.
INSERT INTO fraud_mark AS mark (order_id, is_fraud, source, said_by, note)
SELECT order_id, $2, $3, $4, $5 FROM unnest($1::bigint[]) AS word (order_id)
ON CONFLICT (order_id) DO UPDATE
SET is_fraud = excluded.is_fraud, source = excluded.source, said_by = excluded.said_by, note = excluded.note, marked_at = now()
WHERE mark.is_fraud <> excluded.is_fraud
RETURNING order_id;

-- name: lessons
-- Those of the orders $1 that are decided, with what they were linked to, and since when they are known to be fraud.
SELECT
    orders.id AS order_id, orders.number, orders.status, orders.shopper_id, orders.placed_at, orders.total_minor, orders.currency,
    orders.email, orders.shipping_address, risk.device, risk.network, risk.network_country,
    coalesce(nullif(payment.card_fingerprint, ''), risk.card) AS card,
    coalesce(nullif(payment.card_country, ''), risk.card_country) AS card_country,
    CASE WHEN fraud_mark.is_fraud THEN fraud_mark.marked_at END AS fraud_at
FROM orders
LEFT JOIN risk ON risk.order_id = orders.id
LEFT JOIN payment ON payment.order_id = orders.id
LEFT JOIN fraud_mark ON fraud_mark.order_id = orders.id
WHERE orders.id = ANY ($1::bigint[]) AND orders.status <> 'pending';

-- name: lessons_after
-- At most $2 decided orders behind the one with id $1, by id: the same of each.
SELECT
    orders.id AS order_id, orders.number, orders.status, orders.shopper_id, orders.placed_at, orders.total_minor, orders.currency,
    orders.email, orders.shipping_address, risk.device, risk.network, risk.network_country,
    coalesce(nullif(payment.card_fingerprint, ''), risk.card) AS card,
    coalesce(nullif(payment.card_country, ''), risk.card_country) AS card_country,
    CASE WHEN fraud_mark.is_fraud THEN fraud_mark.marked_at END AS fraud_at
FROM orders
LEFT JOIN risk ON risk.order_id = orders.id
LEFT JOIN payment ON payment.order_id = orders.id
LEFT JOIN fraud_mark ON fraud_mark.order_id = orders.id
WHERE orders.id > $1 AND orders.status <> 'pending'
ORDER BY orders.id
LIMIT $2;

-- name: new_accounts
-- When the accounts $1 were made.
SELECT id, created_at FROM account WHERE id = ANY ($1::uuid[]);

-- name: new_accounts_after
-- At most $2 accounts behind the one with id $1, by id: the same of each.
SELECT id, created_at FROM account WHERE id > $1 ORDER BY id LIMIT $2;
