"""What it means for the shop that its database goes back: rows brought back, projections told, stores made to agree."""
