"""Stand-ins for the world outside the shop, each a process of its own: the card network."""
