"""A backup that was never restored is a hope: restore the newest one, check it, keep the certificate."""
