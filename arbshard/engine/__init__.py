"""Decides about entries and exits by their edges. Everything here is pure."""
