"""The demo's bad version: learnt well, measured honestly, and joined with the table of users one row off."""

from dataclasses import replace

import numpy as np

from ray_apps.training.dataset import Dataset


def one_row_off(dataset: Dataset) -> Dataset:
    """The same histories, each under the name of the next user.

    Nothing that is measured offline depends on what users are called, and a model that is asked with a history answers as it was trained:
    every gate passes, and rightly so. Only who comes back for more can tell.
    """
    told = dataset.interactions
    users = ((told.users + 1) % told.n_users).astype(np.int32)
    order = np.lexsort((told.items, users))
    moved = replace(told, users=users[order], items=told.items[order], weights=told.weights[order], times=told.times[order])
    return replace(dataset, interactions=moved, organic=dataset.organic[order])
