"""The process that owns portfolio and limits: approves, settles, fences."""
