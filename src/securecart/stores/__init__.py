"""How to talk to each database. A store knows its wire protocol and nothing of shops."""
