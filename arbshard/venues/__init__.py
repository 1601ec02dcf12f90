"""One file per venue: pure codec and trading rules."""
