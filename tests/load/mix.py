"""What users of a recommender ask, in the proportions of the real thing: Zipf users and items, some of both unknown."""

import json
from collections.abc import Iterator

import numpy as np

from recsys_dev.loadgen import Asked

SHARES = {"recommendations": 0.70, "events": 0.20, "similar-items": 0.05, "sessions": 0.015, "preferences": 0.015, "batch": 0.02}
NEW = 0.05
"""Part of users, and of items in events, that no version knows."""
SKEW = 1.2
GENRES = ("comedy", "drama", "crime", "war")


def mix(count: int, *, users: int, items: int, prefix: str = "/movies", seed: int = 1) -> Iterator[Asked]:
    """So many requests, drawn."""
    drawn = np.random.default_rng(seed)
    routes = drawn.choice(list(SHARES), size=count, p=list(SHARES.values()))

    def user() -> str:
        return f"new-{drawn.integers(1 << 30)}" if drawn.random() < NEW else f"user-{(drawn.zipf(SKEW) - 1) % users:06d}"

    def item() -> str:
        return f"fresh-{drawn.integers(1000)}" if drawn.random() < NEW else f"item-{(drawn.zipf(SKEW) - 1) % items:06d}"

    for place, route in enumerate(routes):
        path, body = f"{prefix}/v1/{route}", dict[str, object]()
        match route:
            case "recommendations":
                body = {"user_id": user(), "k": int(drawn.choice([10, 20, 50]))}
            case "events":
                event = {"event_id": f"load-{seed}-{place}", "user_id": user(), "item_id": item(), "timestamp": 1_750_000_000_000 + place}
                body = {"event_type": "watch", "events": [event | {"fraction": round(float(drawn.random()), 2)}]}
            case "similar-items":
                body = {"item_id": item()}
            case "sessions":
                body = {"session_id": f"s-{drawn.integers(1 << 30)}", "items": [item() for _ in range(int(drawn.integers(1, 6)))]}
            case "preferences":
                path, body = f"{prefix}/v1/users/{user()}/preferences", {"genres": [str(drawn.choice(GENRES))], "items": [item()]}
            case _:
                body = {"requests": [{"user_id": user()} for _ in range(int(drawn.integers(2, 11)))]}
        yield Asked(route=str(route), path=path, body=json.dumps(body).encode())
