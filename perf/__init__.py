"""Measurements: what each stage costs, and how long the whole loop takes. ``make perf``."""
