"""Implements the process that owns portfolio and limits: it approves, settles, and fences."""
