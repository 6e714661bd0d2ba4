"""What a search left: read by the run that uses it, and by a run that is tried again."""

from pydantic import ValidationError

from ray_apps.stores.objects import StorageError, Store
from recsys_schemas.version_card import RUNS_FOLDER, SearchReport


def search_file(version: str) -> str:
    """Where a search is reported: `runs/movies-000042/search.json`."""
    return f"{RUNS_FOLDER}/{version}/search.json"


def write_search(store: Store, version: str, report: SearchReport) -> None:
    """Leave a report."""
    store.write(search_file(version), report.model_dump_json(indent=1).encode())


def read_search(store: Store, version: str) -> SearchReport | None:
    """The report of a version's search; None before it.

    Raises:
        StorageError: what is there is no report.
    """
    try:
        return SearchReport.model_validate_json(store.read(search_file(version)))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StorageError(f"{store.uri}/{search_file(version)} is no report of a search: {error.errors()[0]['msg']}; delete it") from None
