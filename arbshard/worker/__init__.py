"""One shard, one process."""
