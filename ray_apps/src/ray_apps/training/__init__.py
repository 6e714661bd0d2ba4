"""A snapshot becomes a version: learn, measure on held-out users beside the baselines, write arrays, and the card last."""
