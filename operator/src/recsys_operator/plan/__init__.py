"""Verbs: pure functions from what is seen to what shall be done. No clock, no I/O."""
