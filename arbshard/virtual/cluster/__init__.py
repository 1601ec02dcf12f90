"""Simulates the hosts of a cluster on virtual time, with faults of hosts, network and NATS."""
