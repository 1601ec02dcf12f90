"""Implements campaigns: run for hours, watch, stop, judge, run again, report."""
