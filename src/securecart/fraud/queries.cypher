// What fraud says to the graph. `Thing` stands for one of Account, Device, Card, Address, Email and Network and LINKED for the link to
// such a one; `traces.py` puts the names in and joins several pieces to one statement. Order nodes are found by the order's number.

// name: traces
// What is known of those of the things $things that are there.
UNWIND $things AS thing MATCH (t:Thing {id: thing}) RETURN 'Thing' AS label, t.id AS id, t.memo AS memo

// name: near_fraud
// Those of the things $things that were seen with known fraud.
UNWIND $things AS thing MATCH (t:Thing {id: thing}) WHERE t.near > 0 RETURN 'Thing' AS label, t.id AS id

// name: taught
// Those of the orders $orders that were taught before, and how.
UNWIND $orders AS number MATCH (o:`Order` {id: number}) RETURN o.id AS id, o.status AS status, coalesce(o.fraud, false) AS fraud

// name: new_things
// Things that the graph has not seen, with their counts.
UNWIND $new_things AS x
CREATE (:Thing {id: x.id, at: x.at, frauds: x.frauds, accounts: x.accounts, near: x.near, memo: x.memo})

// name: changed_things
// What is kept of things that are there. A change costs the local engine memory for each property, so only this is always changed.
UNWIND $changed_things AS x
MATCH (t:Thing {id: x.id})
SET t.memo = x.memo

// name: shared_by_more
// How many accounts share the things now.
UNWIND $shared_things AS x
MATCH (t:Thing {id: x.id})
SET t.accounts = x.accounts

// name: suspected
// How many of the things' orders are known to be fraud now.
UNWIND $suspected_things AS x
MATCH (t:Thing {id: x.id})
SET t.frauds = x.frauds

// name: nearer
// How much known fraud is next to the things now.
UNWIND $nearer_things AS x
MATCH (t:Thing {id: x.id})
SET t.near = x.near

// name: new_orders
// Orders that the graph has not seen, placed by their accounts.
UNWIND $new_orders AS x
MATCH (a:Account {id: x.account})
CREATE (a)-[:PLACED {at: x.at}]->(:`Order` {
  id: x.id, order_id: x.order_id, at: x.at, amount_minor: x.amount_minor, currency: x.currency, status: x.status, fraud: false
})

// name: order_links
// What each of the orders was linked to.
UNWIND $order_things AS x
MATCH (o:`Order` {id: x.number})
MATCH (t:Thing {id: x.thing})
CREATE (o)-[:LINKED {at: x.at}]->(t)

// name: account_links
// What the accounts have not used before.
UNWIND $account_things AS x
MATCH (a:Account {id: x.account})
MATCH (t:Thing {id: x.thing})
CREATE (a)-[:LINKED {at: x.at}]->(t)

// name: changed_orders
// What became of orders since.
UNWIND $changed_orders AS x
MATCH (o:`Order` {id: x.id})
SET o.status = x.status

// name: marked_orders
// Orders that are known to be fraud, and since when.
UNWIND $marked_orders AS x
MATCH (o:`Order` {id: x.id})
SET o.fraud = true, o.fraud_at = x.fraud_at

// name: cleared_orders
// Orders that are no fraud after all.
UNWIND $cleared_orders AS number
MATCH (o:`Order` {id: number})
SET o.fraud = false, o.fraud_at = null

// name: forget_orders
// Take out $limit orders with their links, and say how many there were.
MATCH (o:`Order`) WITH o LIMIT $limit DETACH DELETE o RETURN count(*) AS forgotten

// name: forget_things
// Take out $limit things of one kind with their links, and say how many there were.
MATCH (t:Thing) WITH t LIMIT $limit DETACH DELETE t RETURN count(*) AS forgotten

// name: orders_after
// The orders behind the one with key $after, the earliest keys first.
MATCH (o:`Order`) WHERE o.order_id > $after RETURN o.order_id AS order_id, o.id AS id ORDER BY order_id LIMIT $limit

// name: find_thing
// One thing and its counts.
MATCH (t:Thing {id: $id})
RETURN 'Thing' AS label, t.id AS id, t.at AS at, t.memo AS memo, t.frauds AS frauds, t.accounts AS accounts

// name: find_order
// One order, with a fraud of its own counted.
MATCH (o:`Order` {id: $id})
RETURN 'Order' AS label, o.id AS id, o.at AS at, '' AS memo, CASE WHEN o.fraud THEN 1 ELSE 0 END AS frauds, 0 AS accounts

// name: accounts_of_thing
// At most $limit accounts that used the thing.
MATCH (t:Thing {id: $id})<-[r:LINKED]-(a:Account)
RETURN 'Thing' AS from_label, t.id AS from_id, r.at AS since, 'Account' AS label, a.id AS id, a.at AS at, a.memo AS memo,
  a.frauds AS frauds, a.accounts AS accounts
LIMIT $limit

// name: things_of_account
// At most $limit things of one kind that the account used.
MATCH (a:Account {id: $id})-[r:LINKED]->(t:Thing)
RETURN 'Account' AS from_label, a.id AS from_id, r.at AS since, 'Thing' AS label, t.id AS id, t.at AS at, t.memo AS memo,
  t.frauds AS frauds, t.accounts AS accounts
LIMIT $limit

// name: orders_of_account
// At most $limit of the account's orders.
MATCH (a:Account {id: $id})-[r:PLACED]->(o:`Order`)
RETURN 'Account' AS from_label, a.id AS from_id, r.at AS since, 'Order' AS label, o.id AS id, o.at AS at, '' AS memo,
  CASE WHEN o.fraud THEN 1 ELSE 0 END AS frauds, 0 AS accounts
LIMIT $limit

// name: orders_of_thing
// At most $limit of the orders that the thing was used for.
MATCH (t:Thing {id: $id})<-[r:LINKED]-(o:`Order`)
RETURN 'Thing' AS from_label, t.id AS from_id, r.at AS since, 'Order' AS label, o.id AS id, o.at AS at, '' AS memo,
  CASE WHEN o.fraud THEN 1 ELSE 0 END AS frauds, 0 AS accounts
LIMIT $limit

// name: things_of_order
// What of one kind the order was linked to.
MATCH (o:`Order` {id: $id})-[r:LINKED]->(t:Thing)
RETURN 'Order' AS from_label, o.id AS from_id, r.at AS since, 'Thing' AS label, t.id AS id, t.at AS at, t.memo AS memo,
  t.frauds AS frauds, t.accounts AS accounts
LIMIT $limit

// name: account_of_order
// Who placed the order.
MATCH (o:`Order` {id: $id})<-[r:PLACED]-(a:Account)
RETURN 'Order' AS from_label, o.id AS from_id, r.at AS since, 'Account' AS label, a.id AS id, a.at AS at, a.memo AS memo,
  a.frauds AS frauds, a.accounts AS accounts
LIMIT $limit

// name: shared_things
// The $limit things of one kind that several accounts share, known fraud and then many accounts first.
MATCH (t:Thing) WHERE t.accounts > 1
RETURN 'Thing' AS label, t.id AS id, t.at AS at, t.memo AS memo, t.frauds AS frauds, t.accounts AS accounts
ORDER BY frauds DESC, accounts DESC LIMIT $limit
