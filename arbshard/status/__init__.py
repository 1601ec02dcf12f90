"""What the system is doing, read from process pages: one Status struct, drawn or as JSON."""
