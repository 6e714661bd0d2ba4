"""Audit: every decision as a record of a chain of hashes, with all that it was decided from. Pure; the choices are in ADR 40."""
