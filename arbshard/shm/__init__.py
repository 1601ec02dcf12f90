"""Shared memory: book slots, shard rings, process pages. Plain mmap, one writer each."""
