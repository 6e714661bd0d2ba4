"""The command `recsys`: what a person asks of a store, beside the operator and without Kubernetes."""
