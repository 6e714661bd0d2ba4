"""What a plain connection to an address says, where a client library tells only that none could be used."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

PROBE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One address: whether it takes connections, and in words."""

    open: bool
    words: str


async def probe_all(addresses: Sequence[str]) -> list[Said]:
    """Try to connect to each host:port, all at the same time, within `PROBE_S` seconds."""
    return await asyncio.gather(*(_probe(address) for address in addresses))


async def _probe(address: str) -> Said:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(PROBE_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return Said(open=False, words=f"{address}: no connection within {PROBE_S:g} s")
    except (OSError, ValueError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        return Said(open=False, words=f"{address}: {os.strerror(number) if number > 0 else error}")
    writer.close()
    return Said(open=True, words=f"{address}: takes connections, but does not answer as a Kafka broker")
