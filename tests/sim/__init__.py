"""Thousands of gossip cores in one process, in virtual time, on a network with latency, loss and partitions."""
