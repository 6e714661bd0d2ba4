"""What Ray Serve is told in the environment of every pod or process of a cluster that serves, whoever keeps the cluster.

`docs/guides/serving.md` has the same table, for clusters that somebody else keeps.
"""

from collections.abc import Mapping
from types import MappingProxyType

SERVE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # One hop: Ray Serve's own ingress straight to a replica. See docs/adr/0004-arms-inside-the-replica.md.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # A request whose replica died before it said a word goes to another one, also if Ray Serve's own proxy stood in for all of them.
        # HAProxy takes a replica for dead after three errors: more tries than that, or one that knows of no other gives up just before.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response 500 502",
        "RAY_SERVE_HAPROXY_RETRIES": "5",
        # Connections that say nothing are ended after a minute.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
        # Bodies are read, within a time and a space, before Ray Serve counts their requests.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "ray_apps.serving.door:middlewares",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Many processes share few cores; a pool of threads in each only makes them wait for one another.
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMEXPR_NUM_THREADS": "1",
    }
)
