-- name: rates
-- What tax and shipping cost in each of the countries $1 with the currency beside it in $2: the country's tax rates by class
-- of goods (none where the shop owes no tax), and the ways to ship there, the country's own or else those for everywhere.
SELECT
    asked.country, asked.currency,
    (SELECT coalesce(jsonb_agg(to_jsonb(tax_rate)), '[]') FROM tax_rate WHERE tax_rate.country = asked.country) AS taxes,
    (
        SELECT coalesce(jsonb_agg(to_jsonb(method) ORDER BY method.position, method.code), '[]')
        FROM shipping_method AS method
        WHERE method.currency = asked.currency AND method.country = CASE
            WHEN EXISTS (SELECT FROM shipping_method WHERE country = asked.country AND currency = asked.currency) THEN asked.country
            ELSE '*'
        END
    ) AS shipping
FROM unnest($1::text[], $2::text[]) AS asked (country, currency);
