"""Helpers that tests share: a world to trade in, a running arbshard, time that is virtual."""
