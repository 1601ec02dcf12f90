"""Pure decisions: edge, entry, exit."""
