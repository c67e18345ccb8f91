-- name: price_items
-- What each of the SKUs $1 is and costs in the currency $2, of products on sale; SKUs without such a price are left out.
SELECT
    variant.sku,
    product.slug,
    CASE WHEN variant.title = '' THEN product.title ELSE product.title || ', ' || variant.title END AS title,
    price.amount_minor,
    product.tax_class,
    coalesce(category.slug, '') AS category
FROM variant
JOIN price ON price.sku = variant.sku AND price.currency = $2
JOIN product ON product.id = variant.product_id AND product.active
LEFT JOIN category ON category.id = product.category_ids[array_upper(product.category_ids, 1)]
WHERE variant.sku = ANY ($1::text[]);

-- name: find_product
-- The product on sale with the slug $1: its way down from the top category and its variants with all their prices.
SELECT
    product.slug, product.title, product.description, product.brand, product.attributes, product.tax_class, product.image_url,
    (
        SELECT coalesce(jsonb_agg(jsonb_build_object('slug', category.slug, 'name', category.name) ORDER BY step.depth), '[]')
        FROM unnest(product.category_ids) WITH ORDINALITY AS step (id, depth)
        JOIN category ON category.id = step.id
    ) AS breadcrumb,
    (
        SELECT coalesce(
            jsonb_agg(jsonb_build_object('sku', variant.sku, 'title', variant.title, 'prices', tag.prices) ORDER BY variant.position),
            '[]'
        )
        FROM variant
        CROSS JOIN LATERAL (
            SELECT coalesce(
                jsonb_agg(jsonb_build_object('amount_minor', amount_minor, 'currency', currency) ORDER BY currency), '[]'
            ) AS prices
            FROM price
            WHERE price.sku = variant.sku
        ) AS tag
        WHERE variant.product_id = product.id
    ) AS variants
FROM product
WHERE product.slug = $1 AND product.active;

-- name: list_categories
-- Every category with the number of products on sale in it and below it, parents before children, by name.
WITH RECURSIVE path AS (
    SELECT id, parent_id, slug, name, 0 AS depth FROM category WHERE parent_id IS NULL
    UNION ALL
    SELECT below.id, below.parent_id, below.slug, below.name, path.depth + 1
    FROM category AS below
    JOIN path ON path.id = below.parent_id
)
SELECT path.id, path.parent_id, path.slug, path.name, coalesce(shelf_count.products, 0) AS count
FROM path
LEFT JOIN shelf_count ON shelf_count.category_id = path.id AND shelf_count.facet_id = 0
ORDER BY path.depth, path.name, path.id;
