"""Implements ``arbshard analyze``: what a run earned and lost, on what and why, and whether it was healthy.

It only reads.
"""
