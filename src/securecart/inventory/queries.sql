-- name: lock_stock
-- What can be promised of the SKUs $1, place by place in the order in which places are drawn on; locked until the
-- transaction ends, in the order in which everybody locks stock.
SELECT sku, location_id, received - taken AS free
FROM stock
WHERE sku = ANY ($1::text[])
ORDER BY sku, location_id
FOR UPDATE;

-- name: lock_held_stock
-- Lock the stock of which the orders $1 have units, in the order in which everybody locks stock.
SELECT
FROM stock
WHERE (sku, location_id) IN (SELECT sku, location_id FROM allocation WHERE order_id = ANY ($1::bigint[]))
ORDER BY sku, location_id
FOR UPDATE;

-- name: hold_stock
-- Take units and hold them: for orders $1 of SKUs $2 at places $3 so many $4. The caller has locked the stock and judged.
WITH allocated AS (
    INSERT INTO allocation (order_id, sku, location_id, quantity)
    SELECT order_id, sku, location_id, quantity
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::int[]) AS given (order_id, sku, location_id, quantity)
    RETURNING order_id, sku, location_id, quantity
), held AS (
    INSERT INTO hold (order_id) SELECT DISTINCT order_id FROM allocated
), total AS (
    SELECT sku, location_id, sum(quantity) AS quantity FROM allocated GROUP BY sku, location_id
)
UPDATE stock
SET taken = stock.taken + total.quantity
FROM total
WHERE stock.sku = total.sku AND stock.location_id = total.location_id;

-- name: sell_held
-- The orders $1 are bought: what they hold is theirs.
DELETE FROM hold WHERE order_id = ANY ($1::bigint[]);

-- name: release_held
-- The orders $1 will not be: what they hold is available again. The caller has locked the stock.
WITH dropped AS (
    DELETE FROM hold WHERE order_id = ANY ($1::bigint[]) RETURNING order_id
), freed AS (
    DELETE FROM allocation USING dropped
    WHERE allocation.order_id = dropped.order_id
    RETURNING allocation.sku, allocation.location_id, allocation.quantity
), total AS (
    SELECT sku, location_id, sum(quantity) AS quantity FROM freed GROUP BY sku, location_id
)
UPDATE stock
SET taken = stock.taken - total.quantity
FROM total
WHERE stock.sku = total.sku AND stock.location_id = total.location_id;

-- name: restock_sold
-- Order $1 was cancelled after it was bought: its units go back where they came from.
WITH bought AS MATERIALIZED (
    SELECT stock.sku, stock.location_id, allocation.quantity
    FROM allocation
    JOIN stock USING (sku, location_id)
    WHERE allocation.order_id = $1 AND NOT EXISTS (SELECT FROM hold WHERE hold.order_id = $1)
    ORDER BY stock.sku, stock.location_id
    FOR UPDATE OF stock
), returned AS (
    UPDATE stock
    SET taken = stock.taken - bought.quantity
    FROM bought
    WHERE stock.sku = bought.sku AND stock.location_id = bought.location_id
)
DELETE FROM allocation USING bought
WHERE allocation.order_id = $1 AND allocation.sku = bought.sku AND allocation.location_id = bought.location_id;

-- name: receive_stock
-- Goods arrived: SKUs $1 in quantities $2 at the locations with codes $3, in SKU order; counts the rows written.
WITH arrived AS (
    SELECT line.sku, location.id AS location_id, sum(line.quantity)::bigint AS quantity
    FROM unnest($1::text[], $2::bigint[], $3::text[]) AS line (sku, quantity, code)
    JOIN location USING (code)
    GROUP BY line.sku, location.id
    ORDER BY line.sku, location.id
), kept AS (
    INSERT INTO stock (sku, location_id, received)
    SELECT sku, location_id, quantity FROM arrived
    ON CONFLICT (sku, location_id) DO UPDATE SET received = stock.received + excluded.received
    RETURNING 1
)
SELECT count(*) FROM kept;

-- name: unknown_locations
-- Those of the codes $1 that are no location's.
SELECT code FROM unnest($1::text[]) AS given (code) WHERE NOT EXISTS (SELECT FROM location WHERE location.code = given.code);

-- name: add_location
-- A place that holds stock; naming it again renames it.
INSERT INTO location (code, name) VALUES ($1, $2) ON CONFLICT (code) DO UPDATE SET name = excluded.name;

-- name: available_stock
-- Units of each of the SKUs $1 that can be promised now, over all locations.
SELECT sku, sum(received - taken)::bigint AS available FROM stock WHERE sku = ANY ($1::text[]) GROUP BY sku;

-- name: stock_levels
-- The books of the SKUs $1, location by location; what is held is counted over the few orders that hold.
WITH held AS (
    SELECT allocation.sku, allocation.location_id, sum(allocation.quantity)::bigint AS quantity
    FROM hold
    JOIN allocation USING (order_id)
    WHERE allocation.sku = ANY ($1::text[])
    GROUP BY allocation.sku, allocation.location_id
)
SELECT
    stock.sku, location.code AS location, stock.received, stock.taken - coalesce(held.quantity, 0) AS sold,
    coalesce(held.quantity, 0) AS reserved
FROM stock
JOIN location ON location.id = stock.location_id
LEFT JOIN held ON held.sku = stock.sku AND held.location_id = stock.location_id
WHERE stock.sku = ANY ($1::text[])
ORDER BY stock.sku, location.id;
