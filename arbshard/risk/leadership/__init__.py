"""Leads a cluster: followers store what risk stores, and risk answers only while a majority of the hosts has it."""
