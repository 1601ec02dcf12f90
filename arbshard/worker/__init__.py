"""Holds the worker: one process, which trades one shard."""
