"""The operator: it observes, plans and applies."""
