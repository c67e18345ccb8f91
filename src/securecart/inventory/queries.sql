-- name: reserve_stock
-- Hold the wanted units for order $1 until $4, all of them or none: SKUs $2 in quantities $3, lines of one SKU
-- summed, locations drawn on in order. Answers a row for each SKU of which there is too little.
WITH wanted AS (
    SELECT sku, sum(quantity) AS quantity
    FROM unnest($2::text[], $3::bigint[]) AS line (sku, quantity)
    GROUP BY sku
), locked AS MATERIALIZED (
    SELECT stock.sku, stock.location_id, stock.received - stock.sold - stock.reserved AS free
    FROM stock
    JOIN wanted USING (sku)
    ORDER BY stock.sku, stock.location_id
    FOR UPDATE OF stock
), spread AS (
    SELECT locked.sku, locked.location_id, least(
        locked.free,
        greatest(wanted.quantity - coalesce(sum(locked.free) OVER nearer, 0), 0)
    )::bigint AS take
    FROM locked
    JOIN wanted USING (sku)
    WINDOW nearer AS (PARTITION BY locked.sku ORDER BY locked.location_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), short AS (
    SELECT wanted.sku, wanted.quantity::bigint AS wanted, coalesce(sum(spread.take), 0)::bigint AS available
    FROM wanted
    LEFT JOIN spread USING (sku)
    GROUP BY wanted.sku, wanted.quantity
    HAVING coalesce(sum(spread.take), 0) < wanted.quantity
), held AS (
    UPDATE stock
    SET reserved = stock.reserved + spread.take
    FROM spread
    WHERE stock.sku = spread.sku AND stock.location_id = spread.location_id
      AND spread.take > 0 AND NOT EXISTS (SELECT FROM short)
), noted AS (
    INSERT INTO reservation (order_id, sku, location_id, quantity, expires_at)
    SELECT $1::bigint, sku, location_id, take, $4::timestamptz
    FROM spread
    WHERE take > 0 AND NOT EXISTS (SELECT FROM short)
)
SELECT sku, wanted, available FROM short ORDER BY sku;

-- name: sell_reserved
-- Order $1 is paid: its reserved units become sold ones, and where they came from is kept.
WITH held AS MATERIALIZED (
    SELECT stock.sku, stock.location_id, reservation.quantity
    FROM reservation
    JOIN stock USING (sku, location_id)
    WHERE reservation.order_id = $1
    ORDER BY stock.sku, stock.location_id
    FOR UPDATE OF stock
), sold AS (
    UPDATE stock
    SET reserved = stock.reserved - held.quantity, sold = stock.sold + held.quantity
    FROM held
    WHERE stock.sku = held.sku AND stock.location_id = held.location_id
), forgotten AS (
    DELETE FROM reservation WHERE order_id = $1
)
INSERT INTO allocation (order_id, sku, location_id, quantity)
SELECT $1, sku, location_id, quantity FROM held;

-- name: release_reserved
-- Order $1 will not be: its reserved units are available again.
WITH held AS MATERIALIZED (
    SELECT stock.sku, stock.location_id, reservation.quantity
    FROM reservation
    JOIN stock USING (sku, location_id)
    WHERE reservation.order_id = $1
    ORDER BY stock.sku, stock.location_id
    FOR UPDATE OF stock
), released AS (
    UPDATE stock
    SET reserved = stock.reserved - held.quantity
    FROM held
    WHERE stock.sku = held.sku AND stock.location_id = held.location_id
)
DELETE FROM reservation WHERE order_id = $1;

-- name: restock_sold
-- Order $1 was cancelled after it was paid: its units go back where they came from.
WITH bought AS MATERIALIZED (
    SELECT stock.sku, stock.location_id, allocation.quantity
    FROM allocation
    JOIN stock USING (sku, location_id)
    WHERE allocation.order_id = $1
    ORDER BY stock.sku, stock.location_id
    FOR UPDATE OF stock
), returned AS (
    UPDATE stock
    SET sold = stock.sold - bought.quantity
    FROM bought
    WHERE stock.sku = bought.sku AND stock.location_id = bought.location_id
)
DELETE FROM allocation WHERE order_id = $1;

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
SELECT sku, sum(received - sold - reserved)::bigint AS available FROM stock WHERE sku = ANY ($1::text[]) GROUP BY sku;

-- name: stock_levels
-- The books of the SKUs $1, location by location.
SELECT stock.sku, location.code AS location, stock.received, stock.sold, stock.reserved
FROM stock
JOIN location ON location.id = stock.location_id
WHERE stock.sku = ANY ($1::text[])
ORDER BY stock.sku, location.id;
