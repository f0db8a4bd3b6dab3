"""Servers: a frozen source that answers for adapters or for training at a distance."""
