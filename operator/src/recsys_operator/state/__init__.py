"""Nouns: what is seen, what may be done, what was decided. No I/O, no decisions."""
