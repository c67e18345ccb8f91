-- Fraud: what an order was judged by before its payment, the orders that wait for a person, and what orders turned out to be.

-- one row for each order that was judged
CREATE TABLE risk (
    order_id        bigint PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    -- digest of the secret that the browser or app keeps; where a network, an address or a card is not known, NULL
    device          text,
    network         text,
    network_country text,
    card            text,
    card_country    text,
    -- NULL where the graph gave no answer in time
    probability     double precision CHECK (probability BETWEEN 0 AND 1),
    verdict         text NOT NULL CHECK (verdict IN ('accept', 'review', 'decline')),
    -- in words, the strongest first
    reasons         jsonb NOT NULL DEFAULT '[]',
    judged_by       text NOT NULL CHECK (judged_by IN ('model', 'caution'))
);

-- a bought order that is neither captured nor shipped until somebody looked at it, or nobody did in time
CREATE TABLE review (
    order_id   bigint PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    held_at    timestamptz NOT NULL DEFAULT now(),
    due_at     timestamptz NOT NULL,
    outcome    text CHECK (outcome IN ('released', 'cancelled')),
    decided_at timestamptz,
    decided_by text NOT NULL DEFAULT '',
    CONSTRAINT review_is_decided_at_a_time CHECK ((outcome IS NULL) = (decided_at IS NULL))
);
CREATE INDEX review_open ON review (due_at, order_id) WHERE outcome IS NULL;

-- what is known of an order since: fraud or not, by the bank's word or an operator's
CREATE TABLE fraud_mark (
    order_id  bigint PRIMARY KEY REFERENCES orders (id) ON DELETE CASCADE,
    is_fraud  boolean NOT NULL,
    source    text NOT NULL CHECK (source IN ('chargeback', 'operator')),
    said_by   text NOT NULL DEFAULT '',
    note      text NOT NULL DEFAULT '',
    -- since when it is known; counts for what is judged from then on
    marked_at timestamptz NOT NULL DEFAULT now()
);

-- the country of the bank that issued the card, where the gateway says it
ALTER TABLE payment ADD COLUMN card_country text NOT NULL DEFAULT '';

-- 'take': captured without the goods leaving the house, when a held order is released
ALTER TABLE payment DROP CONSTRAINT payment_wanted_check;
ALTER TABLE payment ADD CONSTRAINT payment_wanted_check CHECK (wanted IN ('capture', 'take', 'void'));
