"""The archiver, a process of its own: receives the log, ships it, takes base backups, keeps the tables' journal."""
