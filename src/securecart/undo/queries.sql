-- name: order_placed_at
-- When the order with the number $1 was placed, by the orders themselves or else by what the event log tells of them.
SELECT at FROM (
    SELECT placed_at AS at, 1 AS rank FROM orders WHERE number = $1
    UNION ALL
    SELECT at, 2 FROM event WHERE body ->> 'kind' = 'order_placed' AND body ->> 'number' = $1
) AS known
ORDER BY rank, at
LIMIT 1;

-- name: corrected
-- Rows whose counters were corrected before, for the transaction $1 that committed at $2.
SELECT relation, key FROM corrected WHERE xid = $1 AND committed_at = $2;

-- name: note_corrected
-- The counters of rows of the table $3 with the keys $4 (each as the array that it is, in text) were corrected, for the
-- transaction $1 that committed at $2.
INSERT INTO corrected (xid, committed_at, relation, key) SELECT $1, $2, $3, unnest($4::text[])::text[];

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
