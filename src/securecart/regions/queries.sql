-- name: unknown_orders
-- Of these order numbers ($1) those that are no order's.
SELECT number FROM unnest($1::text[]) AS told (number) WHERE NOT EXISTS (SELECT FROM orders WHERE orders.number = told.number);
