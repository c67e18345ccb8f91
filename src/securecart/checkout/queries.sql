-- name: tax_rates
-- The rates of country $1 by class of goods; no rows where the shop owes no tax.
SELECT tax_class, rate_ppm, included FROM tax_rate WHERE country = $1;

-- name: shipping_rates
-- The ways to ship to country $1 in currency $2: the country's own, or else those for everywhere.
SELECT code, name, price_minor, free_from_minor
FROM shipping_method
WHERE currency = $2 AND country = CASE
    WHEN EXISTS (SELECT FROM shipping_method WHERE country = $1 AND currency = $2) THEN $1 ELSE '*'
END
ORDER BY position, code;
