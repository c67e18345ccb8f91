-- Two gateways, money that is promised before it is taken, and notices that a gateway sends by itself.

-- an authorised order is bought: its stock is sold, its money promised, and captured when the goods leave the house
ALTER TABLE orders DROP CONSTRAINT orders_status_check;
ALTER TABLE orders ADD CONSTRAINT orders_status_check CHECK (
    status IN ('pending', 'authorised', 'paid', 'declined', 'cancelled', 'partially_refunded', 'refunded')
);
ALTER TABLE orders ADD COLUMN shipped_at timestamptz;

ALTER TABLE payment DROP CONSTRAINT payment_status_check;
ALTER TABLE payment ADD CONSTRAINT payment_status_check CHECK (status IN ('pending', 'authorised', 'captured', 'declined', 'voided'));
ALTER TABLE payment
    -- equal for equal cards, and tells nothing else about them
    ADD COLUMN card_fingerprint text NOT NULL DEFAULT '',
    -- what the buyer's browser needs to go on (3-D Secure) while the payment waits for the buyer
    ADD COLUMN action jsonb,
    -- what was decided about an authorised payment and the gateway has not confirmed yet, and since when
    ADD COLUMN wanted text CHECK (wanted IN ('capture', 'void')),
    ADD COLUMN wanted_at timestamptz;
CREATE INDEX payment_wanted ON payment (wanted_at) WHERE wanted IS NOT NULL;

-- a refund that the gateway will never carry out is kept, and no longer counts
ALTER TABLE refund DROP CONSTRAINT refund_status_check;
ALTER TABLE refund ADD CONSTRAINT refund_status_check CHECK (status IN ('pending', 'done', 'refused'));

-- notices that were acted upon: the same one is not acted upon twice
CREATE TABLE gateway_notice (
    gateway text NOT NULL,
    id      text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gateway, id)
);
CREATE INDEX gateway_notice_age ON gateway_notice (seen_at);
