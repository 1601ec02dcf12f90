"""Defines what arbshard needs of a venue: a Protocol for each module of a venue's folder, and their structs."""
