"""The Ray applications: they measure and serve; the operator decides."""
