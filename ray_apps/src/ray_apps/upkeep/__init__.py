"""Upkeep of a store, beside ingest and never in its way: small files become few, and what is past its retention goes."""
