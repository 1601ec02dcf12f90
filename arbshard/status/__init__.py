"""Reads what the system is doing from process pages: one Status struct, drawn or as JSON."""
