"""Decides what may be done: limits, their tightening, refusals, and the kill switch."""
