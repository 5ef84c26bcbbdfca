"""A run in plain Python: prepared, worked off shard by shard, reported."""
