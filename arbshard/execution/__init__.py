"""Contains the two-leg state machine and the executors that drive it."""
