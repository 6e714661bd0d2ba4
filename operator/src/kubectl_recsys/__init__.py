"""The kubectl plugin: `kubectl recsys`."""
