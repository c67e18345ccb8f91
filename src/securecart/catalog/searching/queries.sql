-- name: understand
-- What the words $1, the unfinished last word $2, the category $3 and the facets with names $4 and values $5 mean here:
-- the text as a query, the ids of category and facets, how many products the shop has, and how many of them have a price
-- in the currency $6.
SELECT
    (websearch_to_tsquery('shop', $1) && CASE
        WHEN $2 = '' THEN ''::tsquery
        ELSE plainto_tsquery('shop', $2) || to_tsquery('shop', quote_literal($2) || ':*')
    END)::text AS words,
    (SELECT id FROM category WHERE slug = $3) AS category_id,
    coalesce((SELECT products FROM shelf_count WHERE category_id = 0 AND facet_id = 0), 0) AS in_shop,
    coalesce((SELECT products FROM shelf_currency WHERE currency = $6), 0) AS priced,
    (
        SELECT coalesce(array_agg(coalesce(facet.id, -1) ORDER BY given.position), '{}')
        FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS given (name, value, position)
        LEFT JOIN facet ON facet.name = given.name AND facet.value = given.value
    ) AS facet_ids;

-- name: page_by_rank
-- The products that match $1, those that match the words $2 best first, after the position $3, $4: $5 of them. At most $6
-- matches are ranked.
SELECT product_id, number, product_id AS tie
FROM (
    SELECT product_id, -ts_rank('{0.1, 0.1, 0.3, 1.0}', search, $2::text::tsquery)::float8 AS number
    FROM (SELECT product_id, search FROM shelf WHERE search @@ $1::text::tsquery LIMIT $6) AS matched
) AS ranked
WHERE (number, product_id) > ($3::float8, $4::bigint)
ORDER BY number, product_id
LIMIT $5;

-- name: page_by_number
-- The products that match $1 in the order $2 (price_asc, price_desc, newest), prices in $3, those without one last, after
-- the position $4, $5: $6 of them.
SELECT product_id, number, tie
FROM (
    SELECT
        product_id,
        CASE $2
            WHEN 'price_asc' THEN coalesce((prices ->> $3)::float8, 1e18)
            WHEN 'price_desc' THEN -coalesce((prices ->> $3)::float8, -1)
            ELSE 0
        END AS number,
        CASE $2 WHEN 'price_asc' THEN product_id ELSE -product_id END AS tie
    FROM shelf
    WHERE search @@ $1::text::tsquery
    OFFSET 0
) AS matched
WHERE (number, tie) > ($4::float8, $5::bigint)
ORDER BY number, tie
LIMIT $6;

-- name: page_by_name
-- The products that match $1 by name, after the position $2, $3: $4 of them.
SELECT product_id, name_key, product_id AS tie
FROM (SELECT product_id, name_key FROM shelf WHERE search @@ $1::text::tsquery OFFSET 0) AS matched
WHERE (name_key, product_id) > ($2::text COLLATE "C", $3::bigint)
ORDER BY name_key, product_id
LIMIT $4;

-- name: walk_price_asc
-- The products that match $1 (null: all), cheapest in $2 first, after the position $3, $4: $5 of them. IS TRUE keeps the
-- planner from collecting and sorting every match: this is for broad searches, which meet enough of them soon.
SELECT shelf_price.product_id, amount_minor::float8 AS number, shelf_price.product_id AS tie
FROM shelf_price
JOIN shelf ON shelf.product_id = shelf_price.product_id
WHERE currency = $2 AND (amount_minor, shelf_price.product_id) > ($3::float8::bigint, $4::bigint)
  AND ($1::text IS NULL OR (shelf.search @@ $1::text::tsquery) IS TRUE)
ORDER BY amount_minor, shelf_price.product_id
LIMIT $5;

-- name: walk_price_desc
-- The products that match $1 (null: all), dearest in $2 first, after the position $3, $4: $5 of them.
SELECT shelf_price.product_id, -amount_minor::float8 AS number, -shelf_price.product_id AS tie
FROM shelf_price
JOIN shelf ON shelf.product_id = shelf_price.product_id
WHERE currency = $2 AND (amount_minor, shelf_price.product_id) < (-($3::float8)::bigint, -($4::bigint))
  AND ($1::text IS NULL OR (shelf.search @@ $1::text::tsquery) IS TRUE)
ORDER BY amount_minor DESC, shelf_price.product_id DESC
LIMIT $5;

-- name: walk_newest
-- The products that match $1 (null: all), newest first, after the position $2: $3 of them.
SELECT product_id, 0::float8 AS number, -product_id AS tie
FROM shelf
WHERE product_id < -($2::bigint) AND ($1::text IS NULL OR (search @@ $1::text::tsquery) IS TRUE)
ORDER BY product_id DESC
LIMIT $3;

-- name: walk_name
-- The products that match $1 (null: all) by name, after the position $2, $3: $4 of them.
SELECT product_id, name_key, product_id AS tie
FROM shelf
WHERE (name_key, product_id) > ($2::text COLLATE "C", $3::bigint) AND ($1::text IS NULL OR (search @@ $1::text::tsquery) IS TRUE)
ORDER BY name_key, product_id
LIMIT $4;

-- name: count_matches
-- How many products match $1, in the categories right below $2 and in itself, and with which facets. At most $3 matches
-- are counted. Of facets, the twelve names whose twenty most frequent values cover most matches. Matches with the very same
-- marks are counted together first: there are far fewer sets of marks than products.
WITH matched AS MATERIALIZED (
    SELECT category_ids, facet_ids FROM shelf WHERE search @@ $1::text::tsquery LIMIT $3
), marked AS (
    SELECT mark.facet_id, sum(alike.products)::integer AS products
    FROM (SELECT facet_ids, count(*) AS products FROM matched GROUP BY facet_ids) AS alike
    CROSS JOIN LATERAL unnest(alike.facet_ids) AS mark (facet_id)
    GROUP BY mark.facet_id
), valued AS (
    SELECT facet.name, facet.value, marked.products,
           row_number() OVER (PARTITION BY facet.name ORDER BY marked.products DESC, facet.value) AS value_rank
    FROM marked JOIN facet ON facet.id = marked.facet_id
), named AS (
    SELECT name, sum(products) AS covered, row_number() OVER (ORDER BY sum(products) DESC, name) AS name_rank
    FROM valued WHERE value_rank <= 20 GROUP BY name
), placed AS (
    SELECT place.category_id, sum(alike.products)::integer AS products
    FROM (SELECT category_ids, count(*) AS products FROM matched GROUP BY category_ids) AS alike
    CROSS JOIN LATERAL unnest(alike.category_ids) AS place (category_id)
    GROUP BY place.category_id
)
SELECT 'total' AS kind, '' AS name, '' AS value, (SELECT count(*)::integer FROM matched) AS products, 0 AS rank
UNION ALL
SELECT 'category', category.name, category.slug, placed.products, 0
FROM placed JOIN category ON category.id = placed.category_id
WHERE category.id = $2::bigint OR category.parent_id IS NOT DISTINCT FROM $2::bigint
UNION ALL
SELECT 'facet', valued.name, valued.value, valued.products, named.name_rank::integer
FROM valued JOIN named USING (name)
WHERE valued.value_rank <= 20 AND named.name_rank <= 12
ORDER BY kind, rank, products DESC, name, value;

-- name: counts_kept
-- The same for a whole category $1, or the whole shop where it is null, from what the last import counted.
WITH kept AS (
    SELECT facet.name, facet.value, shelf_count.products, sum(shelf_count.products) OVER (PARTITION BY facet.name) AS covered
    FROM shelf_count JOIN facet ON facet.id = shelf_count.facet_id
    WHERE shelf_count.category_id = coalesce($1::bigint, 0) AND shelf_count.shown
)
SELECT 'total' AS kind, '' AS name, '' AS value, shelf_count.products, 0 AS rank
FROM shelf_count WHERE category_id = coalesce($1::bigint, 0) AND facet_id = 0
UNION ALL
SELECT 'category', category.name, category.slug, shelf_count.products, 0
FROM category JOIN shelf_count ON shelf_count.category_id = category.id AND shelf_count.facet_id = 0
WHERE category.id = $1::bigint
UNION ALL
SELECT 'category', category.name, category.slug, shelf_count.products, 0
FROM category JOIN shelf_count ON shelf_count.category_id = category.id AND shelf_count.facet_id = 0
WHERE CASE WHEN $1::bigint IS NULL THEN category.parent_id IS NULL ELSE category.parent_id = $1::bigint END
UNION ALL
SELECT 'facet', name, value, products, dense_rank() OVER (ORDER BY covered DESC, name)::integer FROM kept
ORDER BY kind, rank, products DESC, name, value;

-- name: count_values
-- Of the products that match $1, at most $3, how many have each value of the facet named $2; the twenty most frequent.
SELECT facet.value, counted.products
FROM (
    SELECT mark.facet_id, count(*)::integer AS products
    FROM (SELECT facet_ids FROM shelf WHERE search @@ $1::text::tsquery LIMIT $3) AS matched
    CROSS JOIN LATERAL unnest(matched.facet_ids) AS mark (facet_id)
    GROUP BY mark.facet_id
) AS counted
JOIN facet ON facet.id = counted.facet_id AND facet.name = $2
ORDER BY counted.products DESC, facet.value
LIMIT 20;

-- name: values_kept
-- How many products of the category $1, or of the whole shop where it is null, have each value of the facet named $2; the
-- twenty most frequent, as the last import counted.
SELECT facet.value, shelf_count.products
FROM facet
JOIN shelf_count ON shelf_count.category_id = coalesce($1::bigint, 0) AND shelf_count.facet_id = facet.id
WHERE facet.name = $2
ORDER BY shelf_count.products DESC, facet.value
LIMIT 20;

-- name: find_cards
-- What a list shows of the products $1, in that order, with the cheapest variant in the currency $2.
SELECT
    product.slug, product.title, product.brand, product.image_url, offer.sku, offer.amount_minor,
    coalesce(category.slug, '') AS category, (SELECT count(*) FROM variant WHERE product_id = product.id) AS variants
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (id, position)
JOIN product ON product.id = wanted.id
CROSS JOIN LATERAL (
    SELECT variant.sku, price.amount_minor
    FROM variant LEFT JOIN price ON price.sku = variant.sku AND price.currency = $2
    WHERE variant.product_id = product.id
    ORDER BY price.amount_minor NULLS LAST, variant.position
    LIMIT 1
) AS offer
LEFT JOIN category ON category.id = product.category_ids[array_upper(product.category_ids, 1)]
ORDER BY wanted.position;

-- name: known_words
-- Those of the words $1 that the catalogue knows.
SELECT word FROM word WHERE word = ANY ($1::text[]);

-- name: words_alike
-- Words of the catalogue that may be meant by $1, whose letters in order are $2: alike by trigrams, with letters swapped, or,
-- when $3 says that it is short, beginning the same and about as long.
(SELECT word, seen FROM word WHERE word % $1 ORDER BY similarity(word, $1) DESC, seen DESC LIMIT 40)
UNION
SELECT word, seen FROM word WHERE letters = $2
UNION
(
    SELECT word, seen FROM word
    WHERE $3 AND word >= left($1, 1) AND word < left($1, 1) || chr(65536) AND length(word) BETWEEN length($1) - 1 AND length($1) + 1
    ORDER BY seen DESC LIMIT 400
);
