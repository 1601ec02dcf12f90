"""Holds book slots, shard rings and process pages in shared memory. Each is a plain mapped file with one writer."""
