"""The outside: Kubernetes, Kafka, Ray, the registry. The only place with I/O."""
