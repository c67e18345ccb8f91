-- A payment changes no stock row any more: stock counts the units that are taken, held and sold together, and which they are
-- follows from the order that has them. So an order locks a stock row once, when it is opened, and not again when it is paid.
-- The shop's processes of the version before must be stopped first, as `securecart up` does.

-- an order whose payment is not known yet: its allocations are held, not sold; gone once it is sold or released
CREATE TABLE hold (order_id bigint PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE);
INSERT INTO hold (order_id) SELECT DISTINCT order_id FROM reservation;
INSERT INTO allocation (order_id, sku, location_id, quantity) SELECT order_id, sku, location_id, quantity FROM reservation;
DROP TABLE reservation;

ALTER TABLE stock ADD COLUMN taken bigint NOT NULL DEFAULT 0 CHECK (taken >= 0);
UPDATE stock SET taken = sold + reserved WHERE sold + reserved > 0;
ALTER TABLE stock DROP CONSTRAINT stock_never_oversold, DROP COLUMN sold, DROP COLUMN reserved;
-- the last line of defence: no statement can oversell
ALTER TABLE stock ADD CONSTRAINT stock_never_oversold CHECK (taken <= received);
