"""Versions become traffic: one Ray Serve application per model, answered in one hop."""
