"""Runs the data layer and knows nothing of shops: the database cluster, the regions.

Each part has one shape: `observe` returns one frozen snapshot, a pure function decides what to do, and the steps are
carried out one at a time, each answering one sentence.
"""
