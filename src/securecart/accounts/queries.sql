-- name: register_account
-- A new account for e-mail $1 with password hash $2 and name $3; no row when the e-mail is taken, in any case of letters.
INSERT INTO account (email, password_hash, name) VALUES ($1, $2, $3)
ON CONFLICT (lower(email)) DO NOTHING
RETURNING id, email, name, staff;

-- name: find_credentials
-- The account of e-mail $1, whatever its case, with its password hash.
SELECT id, email, name, staff, password_hash FROM account WHERE lower(email) = lower($1);

-- name: find_account
-- The account of e-mail $1, whatever its case.
SELECT id, email, name, staff FROM account WHERE lower(email) = lower($1);

-- name: set_staff
-- The account of e-mail $1 works for the shop from now on, or not any more ($2); no row when there is none.
UPDATE account SET staff = $2 WHERE lower(email) = lower($1) RETURNING id, email, name, staff;

-- name: addresses_of
-- At most $2 addresses of account $1, the last used first.
SELECT address FROM account_address WHERE account_id = $1 ORDER BY used_at DESC, id DESC LIMIT $2;

-- name: remember_address
-- Keep address $2 for account $1, once; using it again makes it the last used.
INSERT INTO account_address (account_id, address) VALUES ($1, $2)
ON CONFLICT (account_id, md5(address::text)) DO UPDATE SET used_at = clock_timestamp();
