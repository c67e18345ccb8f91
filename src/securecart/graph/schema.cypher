// The tables of the local graph. LadybugDB wants them declared; Neptune needs none of this.
//
// Each statement may be run again: the process runs all of them whenever it starts. A property that comes later is added by a
// statement at the end, ALTER TABLE ... ADD IF NOT EXISTS, so that a file of an earlier version gets it too.
// Times are epoch microseconds. A node's `at` is when the shop saw it first, a link's when it was made.

CREATE NODE TABLE IF NOT EXISTS Account(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS Device(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS Card(id STRING PRIMARY KEY, at INT64, country STRING);

CREATE NODE TABLE IF NOT EXISTS Address(id STRING PRIMARY KEY, at INT64, country STRING);

CREATE NODE TABLE IF NOT EXISTS Email(id STRING PRIMARY KEY, at INT64);

CREATE NODE TABLE IF NOT EXISTS Network(id STRING PRIMARY KEY, at INT64, country STRING);

CREATE NODE TABLE IF NOT EXISTS `Order`(
  id STRING PRIMARY KEY, number STRING, at INT64, amount_minor INT64, currency STRING, status STRING, fraud BOOL, fraud_at INT64
);

CREATE REL TABLE IF NOT EXISTS PLACED(FROM Account TO `Order`, at INT64);

CREATE REL TABLE IF NOT EXISTS ON_DEVICE(FROM `Order` TO Device, FROM Account TO Device, at INT64);

CREATE REL TABLE IF NOT EXISTS PAID_WITH(FROM `Order` TO Card, FROM Account TO Card, at INT64);

CREATE REL TABLE IF NOT EXISTS SENT_TO(FROM `Order` TO Address, FROM Account TO Address, at INT64);

CREATE REL TABLE IF NOT EXISTS REACHED_AT(FROM `Order` TO Email, FROM Account TO Email, at INT64);

CREATE REL TABLE IF NOT EXISTS FROM_NETWORK(FROM `Order` TO Network, FROM Account TO Network, at INT64);
