-- The foundation: catalogue, stock, accounts, orders, payments, and the tables that say what shipping and tax cost.
-- Money is bigint minor units beside its currency; times are timestamptz; keys that people see are text.

-- catalog ------------------------------------------------------------------------------------------------------

CREATE TABLE category (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id bigint REFERENCES category (id),
    slug      text NOT NULL UNIQUE,
    name      text NOT NULL
);
CREATE INDEX category_parent ON category (parent_id);

CREATE TABLE product (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug          text NOT NULL UNIQUE,
    title         text NOT NULL,
    description   text NOT NULL DEFAULT '',
    brand         text NOT NULL DEFAULT '',
    attributes    jsonb NOT NULL DEFAULT '{}',
    tax_class     text NOT NULL DEFAULT 'standard',
    image_url     text NOT NULL DEFAULT '',
    active        boolean NOT NULL DEFAULT true,
    -- the categories from the top down to the one it is in
    category_ids  bigint[] NOT NULL DEFAULT '{}',
    -- digest of the source row: an import that finds it unchanged writes nothing
    source_digest bytea NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE variant (
    sku        text PRIMARY KEY,
    product_id bigint NOT NULL REFERENCES product (id) ON DELETE CASCADE,
    title      text NOT NULL DEFAULT '',
    position   smallint NOT NULL DEFAULT 0
);
CREATE INDEX variant_product ON variant (product_id, position);

CREATE TABLE price (
    sku          text NOT NULL REFERENCES variant (sku) ON DELETE CASCADE,
    currency     text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    PRIMARY KEY (sku, currency)
);

-- what search sees of each product on sale: derived from the tables above by every import, narrow, so that a broad
-- word can be ranked and counted within milliseconds

-- words as shoppers type them: accents do not matter, English endings neither
CREATE TEXT SEARCH CONFIGURATION shop (COPY = english);
ALTER TEXT SEARCH CONFIGURATION shop ALTER MAPPING FOR word, hword, hword_part WITH unaccent, english_stem;

-- an attribute's value that a shopper may filter by
CREATE TABLE facet (
    id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL,
    value text NOT NULL,
    UNIQUE (name, value)
);

CREATE TABLE shelf (
    product_id   bigint PRIMARY KEY REFERENCES product (id) ON DELETE CASCADE,
    category_ids bigint[] NOT NULL,
    facet_ids    integer[] NOT NULL,
    -- the lowest price of its variants by currency, in minor units
    prices       jsonb NOT NULL,
    -- the title as it sorts: lower case, without accents
    name_key     text COLLATE "C" NOT NULL,
    -- title (A), brand and categories (B), attributes (C), description (D); and lexemes 'Category/7' and 'Facet/12' (no
    -- text makes capitals), so that one index look-up answers text and filters together
    search       tsvector NOT NULL
);
CREATE INDEX shelf_search ON shelf USING gin (search);
CREATE INDEX shelf_name ON shelf (name_key, product_id);

-- the order of the shelf by price; whatever empties a shelf reads from its `prices` which rows to take away here
CREATE TABLE shelf_price (
    currency     text NOT NULL,
    amount_minor bigint NOT NULL,
    product_id   bigint NOT NULL,
    PRIMARY KEY (currency, amount_minor, product_id)
);

-- how many products a category (0: the shop) has with a facet (0: with any); `shown` are those a page has room for
CREATE TABLE shelf_count (
    category_id bigint NOT NULL,
    facet_id    integer NOT NULL,
    products    integer NOT NULL,
    shown       boolean NOT NULL,
    PRIMARY KEY (category_id, facet_id)
);
CREATE INDEX shelf_count_shown ON shelf_count (category_id) WHERE shown;

-- how many products on the shelf have a price in a currency
CREATE TABLE shelf_currency (currency text PRIMARY KEY, products integer NOT NULL);

-- categories whose counts an import has outdated and not yet made anew
CREATE TABLE shelf_stale (category_id bigint PRIMARY KEY);

-- the words of titles, brands and categories, to correct typing errors by; `letters` are its letters in order,
-- which finds the words with two of them swapped
CREATE TABLE word (
    word    text COLLATE "C" PRIMARY KEY,
    letters text COLLATE "C" NOT NULL,
    seen    integer NOT NULL
);
CREATE INDEX word_alike ON word USING gin (word gin_trgm_ops);
CREATE INDEX word_letters ON word (letters);

-- the planner's figures and the search index as they should be after many rows changed; only an owner may do this
CREATE FUNCTION tidy_shelves() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM gin_clean_pending_list('shelf_search'), gin_clean_pending_list('word_alike');
    ANALYZE category, product, variant, price, facet, shelf, shelf_price, shelf_count, word;
END $$;

-- inventory ----------------------------------------------------------------------------------------------------

CREATE TABLE location (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    name text NOT NULL
);
INSERT INTO location (code, name) VALUES ('main', 'Main warehouse');

CREATE TABLE stock (
    sku         text NOT NULL,
    location_id bigint NOT NULL REFERENCES location (id),
    received    bigint NOT NULL DEFAULT 0 CHECK (received >= 0),
    sold        bigint NOT NULL DEFAULT 0 CHECK (sold >= 0),
    reserved    bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (sku, location_id),
    -- the last line of defence: no statement can oversell
    CONSTRAINT stock_never_oversold CHECK (sold + reserved <= received)
) WITH (fillfactor = 70);

-- accounts -----------------------------------------------------------------------------------------------------

CREATE TABLE account (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text NOT NULL,
    password_hash text NOT NULL,
    name          text NOT NULL DEFAULT '',
    staff         boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX account_email ON account (lower(email));

CREATE TABLE account_address (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    address    jsonb NOT NULL,
    used_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- by digest: the longest address is longer than an index row may be
CREATE UNIQUE INDEX account_address_once ON account_address (account_id, md5(address::text));

-- orders -------------------------------------------------------------------------------------------------------

CREATE TABLE orders (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number           text NOT NULL UNIQUE,
    -- who bought: 'account:<uuid>' or 'guest:<random>', the owner of the cart
    shopper_id       text NOT NULL,
    idempotency_key  text NOT NULL,
    request_digest   bytea NOT NULL,
    -- the state of the cart that was bought, so that whoever settles the order takes out just that
    cart_version     bigint NOT NULL,
    cart_change      text NOT NULL,
    status           text NOT NULL CHECK (status IN ('pending', 'paid', 'declined', 'cancelled', 'partially_refunded', 'refunded')),
    email            text NOT NULL,
    currency         text NOT NULL,
    subtotal_minor   bigint NOT NULL CHECK (subtotal_minor >= 0),
    shipping_minor   bigint NOT NULL CHECK (shipping_minor >= 0),
    tax_minor        bigint NOT NULL CHECK (tax_minor >= 0),
    tax_included     boolean NOT NULL,
    total_minor      bigint NOT NULL,
    refunded_minor   bigint NOT NULL DEFAULT 0,
    shipping_method  text NOT NULL,
    shipping_address jsonb NOT NULL,
    billing_address  jsonb NOT NULL,
    placed_at        timestamptz NOT NULL DEFAULT now(),
    pending_until    timestamptz,
    UNIQUE (shopper_id, idempotency_key),
    CONSTRAINT order_adds_up CHECK (total_minor = subtotal_minor + shipping_minor + CASE WHEN tax_included THEN 0 ELSE tax_minor END),
    CONSTRAINT order_refund_within_total CHECK (refunded_minor BETWEEN 0 AND total_minor)
) WITH (fillfactor = 80);
CREATE INDEX orders_of_shopper ON orders (shopper_id, id DESC);
CREATE INDEX orders_pending ON orders (pending_until) WHERE status = 'pending';

CREATE TABLE order_line (
    order_id         bigint NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    position         smallint NOT NULL,
    sku              text NOT NULL,
    title            text NOT NULL,
    quantity         integer NOT NULL CHECK (quantity > 0),
    unit_price_minor bigint NOT NULL CHECK (unit_price_minor >= 0),
    tax_minor        bigint NOT NULL CHECK (tax_minor >= 0),
    total_minor      bigint NOT NULL,
    PRIMARY KEY (order_id, position),
    CONSTRAINT line_adds_up CHECK (total_minor = quantity * unit_price_minor)
);

CREATE TABLE order_change (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    at       timestamptz NOT NULL DEFAULT now(),
    status   text NOT NULL,
    note     text NOT NULL
);
CREATE INDEX order_change_of_order ON order_change (order_id, id);

-- what an order holds while its payment is not known; gone once it is sold or released
CREATE TABLE reservation (
    order_id    bigint NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    sku         text NOT NULL,
    location_id bigint NOT NULL,
    quantity    integer NOT NULL CHECK (quantity > 0),
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (order_id, sku, location_id),
    FOREIGN KEY (sku, location_id) REFERENCES stock (sku, location_id)
);

-- where each sold unit came from, so that a cancellation puts it back there
CREATE TABLE allocation (
    order_id    bigint NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    sku         text NOT NULL,
    location_id bigint NOT NULL,
    quantity    integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, sku, location_id)
);

-- payments -----------------------------------------------------------------------------------------------------

CREATE TABLE payment (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id       bigint NOT NULL UNIQUE REFERENCES orders (id) ON DELETE CASCADE,
    gateway        text NOT NULL,
    gateway_id     text NOT NULL DEFAULT '',
    status         text NOT NULL CHECK (status IN ('pending', 'captured', 'declined')),
    currency       text NOT NULL,
    amount_minor   bigint NOT NULL CHECK (amount_minor >= 0),
    card_brand     text NOT NULL DEFAULT '',
    card_last4     text NOT NULL DEFAULT '',
    decline_reason text NOT NULL DEFAULT ''
);

CREATE TABLE refund (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id      bigint NOT NULL REFERENCES payment (id) ON DELETE CASCADE,
    idempotency_key text NOT NULL,
    amount_minor    bigint NOT NULL CHECK (amount_minor > 0),
    reason          text NOT NULL,
    status          text NOT NULL CHECK (status IN ('pending', 'done')),
    gateway_id      text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (payment_id, idempotency_key)
);
CREATE INDEX refund_pending ON refund (id) WHERE status = 'pending';

-- checkout: what shipping and tax cost ---------------------------------------------------------------------------

CREATE TABLE shipping_method (
    code         text NOT NULL,
    country      text NOT NULL,  -- '*' serves every country that has no row of its own
    currency     text NOT NULL,
    name         text NOT NULL,
    price_minor  bigint NOT NULL CHECK (price_minor >= 0),
    free_from_minor bigint,      -- goods worth this much or more ship free
    position     smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (code, country, currency)
);

CREATE TABLE tax_rate (
    country   text NOT NULL,
    tax_class text NOT NULL,
    rate_ppm  integer NOT NULL CHECK (rate_ppm BETWEEN 0 AND 1000000),  -- parts in a million: 190000 is 19 %
    included  boolean NOT NULL,  -- whether the shop's prices contain it already
    PRIMARY KEY (country, tax_class)
);
