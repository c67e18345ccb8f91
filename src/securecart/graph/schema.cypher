// The tables of the local graph. LadybugDB wants them declared; Neptune needs none of this.
//
// Each statement may be run again: the process runs all of them whenever it starts. A property that comes later is added by a
// statement at the end, ALTER TABLE ... ADD IF NOT EXISTS, so that a file of an earlier version gets it too.
// Times are epoch microseconds. A node's `at` is when the shop saw it first, a link's when it was made.

CREATE NODE TABLE IF NOT EXISTS Account(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS Device(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS Card(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS Address(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS Email(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS Network(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS `Order`(
  id STRING PRIMARY KEY, at INT64, amount_minor INT64, currency STRING, status STRING, fraud BOOL, fraud_at INT64
);

CREATE REL TABLE IF NOT EXISTS PLACED(FROM Account TO `Order`, at INT64);

CREATE REL TABLE IF NOT EXISTS ON_DEVICE(FROM `Order` TO Device, FROM Account TO Device, at INT64);

CREATE REL TABLE IF NOT EXISTS PAID_WITH(FROM `Order` TO Card, FROM Account TO Card, at INT64);

CREATE REL TABLE IF NOT EXISTS SENT_TO(FROM `Order` TO Address, FROM Account TO Address, at INT64);

CREATE REL TABLE IF NOT EXISTS REACHED_AT(FROM `Order` TO Email, FROM Account TO Email, at INT64);

CREATE REL TABLE IF NOT EXISTS FROM_NETWORK(FROM `Order` TO Network, FROM Account TO Network, at INT64);

// What the shop worked out of a node's orders, so that a checkout asks for nodes and walks no links (ADR 0083). An order's `id` is its
// number, `order_id` its key in the orders database.

ALTER TABLE `Order` ADD IF NOT EXISTS order_id INT64;

ALTER TABLE Account ADD IF NOT EXISTS frauds INT64;

ALTER TABLE Account ADD IF NOT EXISTS accounts INT64;

ALTER TABLE Account ADD IF NOT EXISTS memo STRING;

ALTER TABLE Device ADD IF NOT EXISTS frauds INT64;

ALTER TABLE Device ADD IF NOT EXISTS accounts INT64;

ALTER TABLE Device ADD IF NOT EXISTS memo STRING;

ALTER TABLE Card ADD IF NOT EXISTS frauds INT64;

ALTER TABLE Card ADD IF NOT EXISTS accounts INT64;

ALTER TABLE Card ADD IF NOT EXISTS memo STRING;

ALTER TABLE Address ADD IF NOT EXISTS frauds INT64;

ALTER TABLE Address ADD IF NOT EXISTS accounts INT64;

ALTER TABLE Address ADD IF NOT EXISTS memo STRING;

ALTER TABLE Email ADD IF NOT EXISTS frauds INT64;

ALTER TABLE Email ADD IF NOT EXISTS accounts INT64;

ALTER TABLE Email ADD IF NOT EXISTS memo STRING;

ALTER TABLE Network ADD IF NOT EXISTS frauds INT64;

ALTER TABLE Network ADD IF NOT EXISTS accounts INT64;

ALTER TABLE Network ADD IF NOT EXISTS memo STRING;

ALTER TABLE Account ADD IF NOT EXISTS near INT64;

ALTER TABLE Device ADD IF NOT EXISTS near INT64;

ALTER TABLE Card ADD IF NOT EXISTS near INT64;

ALTER TABLE Address ADD IF NOT EXISTS near INT64;

ALTER TABLE Email ADD IF NOT EXISTS near INT64;

ALTER TABLE Network ADD IF NOT EXISTS near INT64;
