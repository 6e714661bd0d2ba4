"""Which changes of our objects ask for a pass: all but those of a status, which nobody but this operator writes.

Without this each status that a pass writes would wake the next one, and a model with live numbers in its status would be passed
over without a pause. A status that somebody else has changed is seen at the next look that the plan asks for, seconds later.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_PARTS = ("uid", "generation", "deletionTimestamp", "finalizers", "labels", "annotations")


class News:
    """Remembers a digest of what each object looked like, without its status. Bounded by the objects that exist."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], bytes] = {}

    def is_news(self, event: str | None, body: Mapping[str, Any]) -> bool:
        """Whether an event is about more than a status.

        Args:
            event: ADDED, MODIFIED or DELETED; None for an object of the first listing, and of each later one.
            body: the object.
        """
        metadata = body["metadata"]
        where = (str(body.get("kind", "")), str(metadata.get("namespace", "")), str(metadata["name"]))
        if event == "DELETED":
            self._seen.pop(where, None)
            return True
        parts = json.dumps({part: metadata.get(part) for part in _PARTS}, sort_keys=True, default=str)
        looks = hashlib.blake2b(parts.encode(), digest_size=16).digest()
        known = self._seen.get(where)
        self._seen[where] = looks
        return event != "MODIFIED" or looks != known
