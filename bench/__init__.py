"""The benches: one file a published number, each beside its own limit, run with `securecart bench NAME`."""
