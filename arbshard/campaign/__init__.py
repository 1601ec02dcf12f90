"""Campaigns: run for hours, watch, stop, judge, run again, report."""
