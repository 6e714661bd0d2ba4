"""What a user would like, told by those who have watched the same: truth for simulated reactions of recorded users."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

NEAREST = 30
MOST_REMEMBERED = 20_000


class Neighbours:
    """For each user, the part of their nearest users (cosine over all that was watched) who have watched each item."""

    def __init__(self, watched: Sequence[tuple[str, str]]) -> None:
        """Learn from pairs of user and item; pairs may repeat."""
        users = {user: row for row, user in enumerate(sorted({user for user, _ in watched}))}
        self._items = sorted({item for _, item in watched})
        columns = {item: column for column, item in enumerate(self._items)}
        pairs = sorted({(users[user], columns[item]) for user, item in watched})
        rows, places = [row for row, _ in pairs], [column for _, column in pairs]
        self._matrix = csr_matrix((np.ones(len(pairs), dtype=np.float32), (rows, places)), shape=(len(users), len(columns)))
        self._norms = np.sqrt(np.bincount(rows, minlength=len(users))).astype(np.float32)
        self._users = users
        self._known: OrderedDict[str, dict[str, float]] = OrderedDict()

    def of(self, user: str) -> dict[str, float]:
        """Item → part of the user's neighbours who have watched it, above 0; empty for somebody unknown."""
        if user not in self._users:
            return {}
        if user not in self._known:
            self._known[user] = self._look(self._users[user])
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return self._known[user]

    def _look(self, row: int) -> dict[str, float]:
        shared = np.asarray((self._matrix @ self._matrix[row].T).todense()).ravel()
        alike = shared / self._norms
        alike[row] = -1
        nearest = np.argsort(-alike, kind="stable")[: min(NEAREST, len(self._users) - 1)]
        if not nearest.size:
            return {}
        part = np.asarray(self._matrix[nearest].mean(axis=0)).ravel()
        return {self._items[column]: float(part[column]) for column in np.flatnonzero(part)}
