"""The resources of group `recsys.dev`, version `v1alpha1`."""

GROUP = "recsys.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
