-- What shipping and tax cost, as a starting point that a shop changes to its own.
-- Tax rates: the standard and reduced rates published by each country for 2026; 'zero' is untaxed everywhere.

INSERT INTO shipping_method (code, country, currency, name, price_minor, free_from_minor, position)
SELECT code, '*', currency, name, round(price_usd_minor * factor), round(free_from_usd_minor * factor), position
FROM (VALUES
    ('standard', 'Standard delivery, 3 to 5 days', 499, 5000, 1),
    ('express', 'Express delivery, next working day', 1499, NULL, 2),
    ('pickup', 'Pick up in store', 0, NULL, 3)
) AS method (code, name, price_usd_minor, free_from_usd_minor, position)
CROSS JOIN (VALUES ('USD', 1), ('EUR', 1), ('GBP', 1), ('CHF', 1), ('JPY', 1.5)) AS money (currency, factor);

INSERT INTO tax_rate (country, tax_class, rate_ppm, included) VALUES
    ('US', 'standard', 0, false), ('US', 'reduced', 0, false), ('US', 'zero', 0, false),
    ('CA', 'standard', 50000, false), ('CA', 'reduced', 0, false), ('CA', 'zero', 0, false),
    ('DE', 'standard', 190000, true), ('DE', 'reduced', 70000, true), ('DE', 'zero', 0, true),
    ('FR', 'standard', 200000, true), ('FR', 'reduced', 55000, true), ('FR', 'zero', 0, true),
    ('GB', 'standard', 200000, true), ('GB', 'reduced', 50000, true), ('GB', 'zero', 0, true),
    ('CH', 'standard', 81000, true), ('CH', 'reduced', 26000, true), ('CH', 'zero', 0, true),
    ('JP', 'standard', 100000, true), ('JP', 'reduced', 80000, true), ('JP', 'zero', 0, true);
