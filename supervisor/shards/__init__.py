"""Decides which shard trades which pair, and how that changes while a run goes on."""
