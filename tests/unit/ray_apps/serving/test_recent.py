"""What is remembered of users costs nobody who asks a pause."""

import gc

from ray_apps.serving.online.recent import Deed, Recent


def test_deeds_are_nothing_that_a_full_collection_looks_at():
    recent = Recent()
    for place in range(50):
        recent.take("ann", Deed(f"item-{place}", 1.0, place))
    gc.collect()
    deeds = recent.of("ann")
    assert len(deeds) == 50
    assert not gc.is_tracked(deeds)
    assert not any(map(gc.is_tracked, deeds))
