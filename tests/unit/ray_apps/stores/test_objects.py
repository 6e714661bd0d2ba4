from pathlib import Path

import pytest

from ray_apps.stores.objects import StorageError, open_store


def test_a_folder_is_made_and_left_empty_by_the_proof_that_it_can_be_written(tmp_path: Path):
    store = open_store(f"file://{tmp_path}/new")
    store.prove_writable()
    assert store.names("") == []


def test_a_place_that_cannot_be_written_is_told_with_the_mend(tmp_path: Path):
    tmp_path.joinpath("file").write_text("in the way")
    with pytest.raises(StorageError, match=r"^storageURI: 'file://.*/file/store' cannot be written \(.*; make the folder writable"):
        open_store(f"file://{tmp_path}/file/store").prove_writable()
