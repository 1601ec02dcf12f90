"""Measures other libraries on the same frames, in environments of their own, where arbshard is not
imported.
"""
