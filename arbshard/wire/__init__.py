"""Defines the messages between processes, and the Unix and ZeroMQ sockets that carry them."""
