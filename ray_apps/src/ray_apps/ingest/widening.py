"""A table's schema only grows: what a later release or a later spec adds is added, and nothing is taken away or narrowed."""

import json

import pyarrow as pa
from deltalake import DeltaTable, Field
from pydantic import BaseModel

from ray_apps.ingest.columns import table_schema
from recsys_schemas.evolution import compatible

EVENT_SCHEMA = "recsys.eventSchema"
"""Property of a table: the JSON Schema of the events in it."""


class RefusedError(Exception):
    """The table cannot be written as it is, and trying again will not help; the message names the field and the mend."""


def widen(table: DeltaTable, event_type: str, event: type[BaseModel]) -> None:
    """Add columns that the event has gained, and note its schema.

    Raises:
        RefusedError: a field was removed, renamed, narrowed or given another type.
    """
    _widen_columns(table, event_type, table_schema(event))
    now, before = event.model_json_schema(), table.metadata().configuration.get(EVENT_SCHEMA)
    if before is not None and (broken := compatible(json.loads(before), now)):
        raise RefusedError("; ".join(f"{event_type}{each}" for each in broken))
    told = schema_words(event)
    if told != before:
        table.alter.set_table_properties({EVENT_SCHEMA: told}, raise_if_not_exists=False)
        table.update_incremental()


def schema_words(event: type[BaseModel]) -> str:
    """What the property `EVENT_SCHEMA` of a table of such events holds."""
    return json.dumps(event.model_json_schema(), separators=(",", ":"))


def _widen_columns(table: DeltaTable, event_type: str, ours: pa.Schema) -> None:
    theirs = pa.schema(table.schema().to_arrow())
    for column in theirs:
        at = ours.get_field_index(column.name)
        if at < 0:
            raise RefusedError(f"{event_type}.{column.name}: the table has this column and the schema has not; put the field back")
        if ours.field(at).type != column.type:
            raise RefusedError(f"{event_type}.{column.name}: {column.type} in the table, {ours.field(at).type} in the schema; name it anew")
        if column.nullable != ours.field(at).nullable and not column.nullable:
            raise RefusedError(f"{event_type}.{column.name}: required in the table, optional in the schema; keep it required")
    added = [column for column in ours if theirs.get_field_index(column.name) < 0]
    for column in added:
        if not column.nullable:
            raise RefusedError(f"{event_type}.{column.name}: a required field that older rows do not have; make it optional")
    if added:
        table.alter.add_columns([Field.from_arrow(column) for column in added])
        table.update_incremental()
