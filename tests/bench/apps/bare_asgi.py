"""The limit: the same scoring under a bare ASGI server. No access, no log, no live knowledge, no arms, no deadline.

`python bare_asgi.py PORT STORE CACHE VERSION DIGEST`
"""

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from threadpoolctl import threadpool_limits

from ray_apps.algorithms import load_model
from ray_apps.serving.ranking import top_k
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import LoadedVersion, open_version

encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct):
    """A question as far as scoring needs it."""

    user_id: str
    k: int = 20


class Bare:
    """One JSON in, one JSON out."""

    def __init__(self, version: LoadedVersion) -> None:
        """Take the version that answers."""
        self._version, self._names = version, list(version.item_ids)
        self._decode = msgspec.json.Decoder(Asked).decode

    async def __call__(
        self,
        scope: MutableMapping[str, Any],  # noqa: ARG002 - ASGI's
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Score one user."""
        message = await receive()
        asked = self._decode(message["body"])
        history, weights = self._version.history(asked.user_id)
        chosen, values = top_k(self._version.model.scores(history, weights), asked.k, history)
        items = [{"item_id": self._names[i], "score": v} for i, v in zip(chosen.tolist(), values.tolist(), strict=True)]
        body = encode({"user_id": asked.user_id, "items": items})
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until ended."""
    port, store, cache, version, digest = sys.argv[1:]
    with threadpool_limits(limits=1):
        bare = Bare(open_version(open_store(store), version, digest, Path(cache), load_model))
        uvicorn.run(
            bare,
            host="127.0.0.1",
            port=int(port),
            loop="uvloop",
            http="httptools",
            lifespan="off",
            access_log=False,
            log_level="error",
            timeout_keep_alive=60,
        )


if __name__ == "__main__":
    main()
