"""A long run at a steady rate, looked at every second: nothing of it may grow."""
