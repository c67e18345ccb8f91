"""Backup and recovery of the orders database: a log that is archived as it is written, base backups, and ways back.

It knows nothing of shops: tables, rows, moments. What it means for a shop that rows come back is `securecart.undo`'s.
"""
