"""Makes several hosts run one arbshard together.

Its parts are leases, votes, the replica of the ledger, and the relay of requests to the leader.
"""
