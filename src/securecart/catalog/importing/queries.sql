-- name: take_turn
-- Let imports write one batch at a time, also when several run; held until the transaction ends.
SELECT pg_advisory_xact_lock(7236002);

-- name: known_products
-- Those of the products with the slugs $1 that are there, with the digest of the row each was made from.
SELECT slug, id, source_digest, category_ids FROM product WHERE slug = ANY ($1::text[]);

-- name: owned_skus
-- To which product each of the SKUs $1 belongs, and every SKU of the products $2.
SELECT variant.sku, product.slug FROM variant JOIN product ON product.id = variant.product_id WHERE variant.sku = ANY ($1::text[])
UNION
SELECT variant.sku, product.slug FROM variant JOIN product ON product.id = variant.product_id WHERE product.id = ANY ($2::bigint[]);

-- name: add_categories
-- Categories with the slugs $1, names $2 and parents' slugs $3 (empty: at the top); one that is there keeps its name.
INSERT INTO category (parent_id, slug, name)
SELECT parent.id, given.slug, given.name
FROM unnest($1::text[], $2::text[], $3::text[]) AS given (slug, name, parent)
LEFT JOIN category AS parent ON parent.slug = given.parent
ON CONFLICT (slug) DO NOTHING;

-- name: find_categories
-- The ids of the categories with the slugs $1.
SELECT slug, id FROM category WHERE slug = ANY ($1::text[]);

-- name: add_facets
-- Attribute values, names $1 and values $2, that a shopper may filter by.
INSERT INTO facet (name, value)
SELECT name, value
FROM unnest($1::text[], $2::text[]) AS given (name, value)
WHERE NOT EXISTS (SELECT FROM facet WHERE facet.name = given.name AND facet.value = given.value)
ON CONFLICT (name, value) DO NOTHING;

-- name: find_facets
-- The ids of the attribute values with the names $1 and values $2.
SELECT facet.name, facet.value, facet.id
FROM unnest($1::text[], $2::text[]) AS given (name, value)
JOIN facet ON facet.name = given.name AND facet.value = given.value;

-- name: keep_products
-- Products, new or changed, from the JSON rows $1; answers their ids.
INSERT INTO product (slug, title, description, brand, attributes, tax_class, image_url, active, category_ids, source_digest)
SELECT slug, title, description, brand, attributes, tax_class, image_url, active, category_ids, decode(digest, 'hex')
FROM jsonb_to_recordset($1::jsonb) AS given (
    slug text, title text, description text, brand text, attributes jsonb, tax_class text, image_url text, active boolean,
    category_ids bigint[], digest text
)
ON CONFLICT (slug) DO UPDATE SET
    title = excluded.title, description = excluded.description, brand = excluded.brand, attributes = excluded.attributes,
    tax_class = excluded.tax_class, image_url = excluded.image_url, active = excluded.active,
    category_ids = excluded.category_ids, source_digest = excluded.source_digest, updated_at = now()
RETURNING slug, id;

-- name: drop_variants
-- The products $1 have changed: their variants that are not among the SKUs $2 go, with their prices.
DELETE FROM variant WHERE product_id = ANY ($1::bigint[]) AND NOT sku = ANY ($2::text[]);

-- name: keep_variants
-- Variants, SKUs $1 of the products $2 with titles $3 at positions $4.
INSERT INTO variant (sku, product_id, title, position)
SELECT sku, product_id, title, position
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::smallint[]) AS given (sku, product_id, title, position)
ON CONFLICT (sku) DO UPDATE SET product_id = excluded.product_id, title = excluded.title, position = excluded.position
WHERE (variant.product_id, variant.title, variant.position) IS DISTINCT FROM (excluded.product_id, excluded.title, excluded.position);

-- name: drop_prices
-- The products $1 have changed: prices of their variants that are not among the SKUs $2 with currencies $3 go.
DELETE FROM price
USING variant
WHERE variant.product_id = ANY ($1::bigint[]) AND price.sku = variant.sku
  AND (price.sku, price.currency) NOT IN (SELECT sku, currency FROM unnest($2::text[], $3::text[]) AS kept (sku, currency));

-- name: keep_prices
-- Prices of the SKUs $1 in the currencies $2: amounts $3 in minor units.
INSERT INTO price (sku, currency, amount_minor)
SELECT sku, currency, amount_minor FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (sku, currency, amount_minor)
ON CONFLICT (sku, currency) DO UPDATE SET amount_minor = excluded.amount_minor
WHERE price.amount_minor <> excluded.amount_minor;

-- name: clear_shelf
-- The products $1 have changed: what search knew of them goes, their prices with it.
WITH cleared AS (
    DELETE FROM shelf WHERE product_id = ANY ($1::bigint[]) RETURNING product_id, prices
)
DELETE FROM shelf_price
USING cleared, jsonb_each_text(cleared.prices) AS lowest (currency, amount)
WHERE shelf_price.currency = lowest.currency AND shelf_price.amount_minor = lowest.amount::bigint
  AND shelf_price.product_id = cleared.product_id;

-- name: clear_left_prices
-- Prices of the products $1 that were left in the shelf's order when their rows were deleted by hand.
DELETE FROM shelf_price WHERE product_id = ANY ($1::bigint[]);

-- name: products_as_given
-- The products $1 as a source would give them, the ids of their categories, and those under which search knows them.
SELECT
    product.id, product.category_ids, coalesce(shelf.category_ids, '{}') AS shown_in,
    jsonb_build_object(
        'slug', product.slug, 'title', product.title, 'description', product.description, 'brand', product.brand,
        'attributes', product.attributes, 'tax_class', product.tax_class, 'image_url', product.image_url, 'active', product.active,
        'categories', (
            SELECT coalesce(jsonb_agg(category.name ORDER BY step.depth), '[]')
            FROM unnest(product.category_ids) WITH ORDINALITY AS step (id, depth)
            JOIN category ON category.id = step.id
        ),
        'variants', (
            SELECT coalesce(jsonb_agg(jsonb_build_object('sku', sku, 'title', title, 'prices', (
                SELECT coalesce(jsonb_object_agg(currency, amount_minor), '{}') FROM price WHERE price.sku = variant.sku
            )) ORDER BY position, sku), '[]')
            FROM variant
            WHERE variant.product_id = product.id
        )
    ) AS product
FROM product
LEFT JOIN shelf ON shelf.product_id = product.id
WHERE product.id = ANY ($1::bigint[]);

-- name: outdated_shelves
-- Those of the products $1 that are on sale and not on the shelf, or the other way round, or there with other prices.
WITH lowest AS (
    SELECT variant.product_id, price.currency, min(price.amount_minor) AS amount_minor
    FROM variant
    JOIN price ON price.sku = variant.sku
    WHERE variant.product_id = ANY ($1::bigint[])
    GROUP BY variant.product_id, price.currency
), priced AS (
    SELECT product_id, jsonb_object_agg(currency, amount_minor) AS prices FROM lowest GROUP BY product_id
)
SELECT product.id
FROM product
LEFT JOIN shelf ON shelf.product_id = product.id
LEFT JOIN priced ON priced.product_id = product.id
WHERE product.id = ANY ($1::bigint[])
  AND (product.active <> (shelf.product_id IS NOT NULL) OR shelf.prices <> coalesce(priced.prices, '{}'));

-- name: fill_shelf
-- What search is to know of products on sale, from the JSON rows $1.
INSERT INTO shelf (product_id, category_ids, facet_ids, prices, name_key, search)
SELECT
    product_id, category_ids, facet_ids, prices, left(lower(unaccent(title)), 80),
    setweight(to_tsvector('shop', title), 'A')
    || setweight(to_tsvector('shop', kind), 'B')
    || setweight(to_tsvector('shop', left(traits, 100000)), 'C')  -- more than this does not fit into one vector
    || setweight(to_tsvector('shop', description), 'D')
    || array_to_tsvector(marks)
FROM jsonb_to_recordset($1::jsonb) AS given (
    product_id bigint, category_ids bigint[], facet_ids integer[], prices jsonb, title text, kind text, traits text,
    description text, marks text[]
);

-- name: fill_shelf_prices
-- The lowest price of each of the products $1 in the currencies $2: amounts $3 in minor units.
INSERT INTO shelf_price (product_id, currency, amount_minor)
SELECT product_id, currency, amount_minor
FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS given (product_id, currency, amount_minor);

-- name: keep_words
-- Words of titles, brands and categories: $1, their letters in order $2, met $3 times more.
INSERT INTO word (word, letters, seen)
SELECT word, letters, seen FROM unnest($1::text[], $2::text[], $3::integer[]) AS given (word, letters, seen)
ON CONFLICT (word) DO UPDATE SET seen = word.seen + excluded.seen;

-- name: mark_stale
-- The counts of the categories $1 (0: the whole shop) are to be made anew.
INSERT INTO shelf_stale (category_id) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING;

-- name: find_stale
-- The categories whose counts are outdated.
SELECT category_id FROM shelf_stale;

-- name: clear_counts
-- Forget what the categories $1 hold.
DELETE FROM shelf_count WHERE category_id = ANY ($1::bigint[]);

-- name: fill_counts
-- Count what the categories $1 (0: the whole shop) hold, all in all and by facet. Shown are the twelve attributes whose
-- twenty most frequent values cover most products.
WITH counted AS (
    SELECT place.category_id, mark.facet_id, count(*)::integer AS products
    FROM shelf
    CROSS JOIN LATERAL unnest(shelf.category_ids || 0::bigint) AS place (category_id)
    CROSS JOIN LATERAL unnest(shelf.facet_ids || 0) AS mark (facet_id)
    WHERE place.category_id = ANY ($1::bigint[])
    GROUP BY place.category_id, mark.facet_id
), valued AS (
    SELECT counted.*, facet.name, row_number() OVER (
        PARTITION BY counted.category_id, facet.name ORDER BY counted.products DESC, facet.value
    ) AS value_rank
    FROM counted
    JOIN facet ON facet.id = counted.facet_id
), named AS (
    SELECT category_id, name, row_number() OVER (PARTITION BY category_id ORDER BY sum(products) DESC, name) AS name_rank
    FROM valued
    WHERE value_rank <= 20
    GROUP BY category_id, name
)
INSERT INTO shelf_count (category_id, facet_id, products, shown)
SELECT category_id, facet_id, products, value_rank <= 20 AND name_rank <= 12 FROM valued JOIN named USING (category_id, name)
UNION ALL
SELECT category_id, facet_id, products, false FROM counted WHERE facet_id = 0;

-- name: clear_currencies
-- Forget how many products have a price in which currency.
DELETE FROM shelf_currency;

-- name: fill_currencies
-- Count the products that have a price in each currency.
INSERT INTO shelf_currency (currency, products) SELECT currency, count(*) FROM shelf_price GROUP BY currency;

-- name: clear_stale
-- The counts of the categories $1 are fresh.
DELETE FROM shelf_stale WHERE category_id = ANY ($1::bigint[]);

-- name: tidy_shelves
-- Let the search index and the planner catch up with what the import wrote.
SELECT tidy_shelves();
