"""Versions shown in an MLflow server. The store stays the truth: what is there can be lost, and is made again from the cards."""
