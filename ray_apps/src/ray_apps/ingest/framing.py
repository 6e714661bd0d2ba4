"""The Confluent wire format: a zero byte, four bytes of schema id, then the value as that schema writes it.

A value without the zero byte is JSON as it is: records from before the registry was set, and those of the model's own API.
"""

import io
import json
import struct
from collections.abc import Sequence

import fastavro

from ray_apps.ingest.quality import MAX_VALUE_BYTES, Fault
from ray_apps.ingest.registry import Parsed, SchemaRegistry
from recsys_schemas.events import DeadLetterReason

_HEADER = struct.Struct(">bI")
_MEND = "write it with a serializer of the schema registry"


class Framing:
    """Takes values out of their frames, as JSON."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry

    def values(self, raw: Sequence[bytes | None]) -> tuple[list[bytes | None], dict[int, Fault]]:
        """Return each value as JSON, and the faults of those that are in no frame or cannot be decoded, by their place.

        Raises:
            RegistryError: the registry does not answer.
        """
        faults: dict[int, Fault] = {}
        found: list[bytes | None] = []
        for index, value in enumerate(raw):
            read = self._value(value)
            if isinstance(read, Fault):
                faults[index] = read
                found.append(None)
            else:
                found.append(read)
        return found, faults

    def _value(self, value: bytes | None) -> bytes | Fault | None:
        if not value or value[0] or len(value) > MAX_VALUE_BYTES:
            return value  # judged as it is: JSON, such as the model's own API writes, begins with no zero byte
        if len(value) < _HEADER.size:
            seen = f"value: {len(value)} bytes, fewer than the {_HEADER.size} of a zero byte and a schema id; {_MEND}"
            return Fault(reason=DeadLetterReason.UNPARSEABLE, detail=seen)
        _, number = _HEADER.unpack_from(value)
        schema = self._registry.writer_schema(number)
        if schema is None:
            return Fault(reason=DeadLetterReason.UNKNOWN_SCHEMA, detail=f"value: the registry has no schema {number}; {_MEND}")
        return value[_HEADER.size :] if schema.avro is None else _from_avro(value, schema.avro, number)


def _from_avro(value: bytes, schema: Parsed, number: int) -> bytes | Fault:
    stream = io.BytesIO(value)
    stream.seek(_HEADER.size)
    try:
        read = json.dumps(fastavro.schemaless_reader(stream, schema, None)).encode()
    except Exception as error:  # noqa: BLE001 (a decoder may fail in any way on bytes that are not its own)
        words = f"{type(error).__name__}: {error}"
    else:
        if stream.tell() == len(value):
            return read
        words = f"{len(value) - stream.tell()} bytes are left over"
    detail = f"value: not Avro of schema {number} ({words}); {_MEND}"
    return Fault(reason=DeadLetterReason.UNPARSEABLE, detail=detail[:500])
