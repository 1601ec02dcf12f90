"""The kill harness: a live run is killed in every way, and must then agree with its exchange to the last digit."""
