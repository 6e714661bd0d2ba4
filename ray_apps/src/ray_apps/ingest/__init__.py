"""Kafka events become snapshots, each record exactly once."""
