-- name: some_products
-- $1 active products that have a price in currency $2, spread evenly over the catalogue and the same in every run.
SELECT product.slug, product.title, variant.sku, price.amount_minor AS price_minor
FROM product
JOIN variant ON variant.product_id = product.id
JOIN price ON price.sku = variant.sku AND price.currency = $2
WHERE product.active AND price.amount_minor > 0
ORDER BY md5(variant.sku)
LIMIT $1;
