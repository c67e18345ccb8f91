-- name: rates
-- What tax and shipping cost: the tax rates of country $1 by class of goods (none where the shop owes no tax), and the ways
-- to ship there in currency $2, the country's own or else those for everywhere.
SELECT
    (SELECT coalesce(jsonb_agg(to_jsonb(tax_rate)), '[]') FROM tax_rate WHERE country = $1) AS taxes,
    (
        SELECT coalesce(jsonb_agg(to_jsonb(shipping_method) ORDER BY position, code), '[]')
        FROM shipping_method
        WHERE currency = $2 AND country = CASE
            WHEN EXISTS (SELECT FROM shipping_method WHERE country = $1 AND currency = $2) THEN $1 ELSE '*'
        END
    ) AS shipping;
