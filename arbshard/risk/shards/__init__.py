"""Decides who may trade which pair: owners, epochs, hand-over, and liveness of the workers."""
