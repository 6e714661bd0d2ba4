"""Starts and stops the real parts on one machine, for the demo and for the tests alike."""
