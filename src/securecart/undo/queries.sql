-- name: order_placed_at
-- When the order with the number $1 was placed, by the orders themselves or else by what the event log tells of them.
SELECT at FROM (
    SELECT placed_at AS at, 1 AS rank FROM orders WHERE number = $1
    UNION ALL
    SELECT at, 2 FROM event WHERE body ->> 'kind' = 'order_placed' AND body ->> 'number' = $1
) AS known
ORDER BY rank, at
LIMIT 1;

-- name: recoveries
-- The transactions that brought rows back, and when each began.
SELECT xid, at FROM recovery;

-- name: note_recovery
-- This transaction brings back what the transaction $1 took that committed at $2, or (NULL) what happened between two moments.
INSERT INTO recovery (undone, undone_at) VALUES ($1, $2) RETURNING id;

-- name: corrected
-- Rows whose counters were corrected for the transaction $1 that committed at $2, by a recovery that was not undone since.
SELECT corrected.relation, corrected.key
FROM corrected
JOIN recovery ON recovery.id = corrected.recovery_id
WHERE recovery.undone = $1 AND recovery.undone_at = $2
  AND NOT EXISTS (SELECT FROM recovery AS later WHERE later.id > recovery.id AND later.undone = recovery.xid % 4294967296);

-- name: note_corrected
-- The recovery $1 corrected the counters of rows of the table $2, by keys $3 (each the text of an array).
INSERT INTO corrected (recovery_id, relation, key) SELECT $1, $2, unnest($3::text[])::text[];

-- name: orders_of_payments
-- The orders to which the payments $1 belong.
SELECT DISTINCT order_id FROM payment WHERE id = ANY ($1::bigint[]);

-- name: products_of_skus
-- The products to which the SKUs $1 belong.
SELECT DISTINCT product_id FROM variant WHERE sku = ANY ($1::text[]);

-- name: products_in_categories
-- The products in the categories $1 or below them.
SELECT id FROM product WHERE category_ids && $1::bigint[];

-- name: all_products
-- Every product.
SELECT id FROM product;

-- name: pages_of_products
-- The address of each of the products $1 and its SKUs.
SELECT product.slug, coalesce(array_agg(variant.sku ORDER BY variant.sku) FILTER (WHERE variant.sku IS NOT NULL), '{}') AS skus
FROM product
LEFT JOIN variant ON variant.product_id = product.id
WHERE product.id = ANY ($1::bigint[])
GROUP BY product.id
ORDER BY product.id;
