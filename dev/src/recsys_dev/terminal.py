"""A command in a terminal of its own, and its last screen as a picture."""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

CLEAR = "\x1b[H\x1b[J"
"""What a program writes before it draws its screen anew."""
_CURSOR = re.compile(r"\x1b\[\?25[hl]")
_FONT = re.compile(r"\s*@font-face \{.*?\n\s*\}", re.DOTALL)
WAIT_S = 10.0


@dataclass(kw_only=True)
class Terminal:
    """A program that draws, and every screen that it has drawn."""

    child: subprocess.Popen[bytes]
    columns: int
    lines: int
    _reader: threading.Thread
    _written: list[bytes] = field(default_factory=list[bytes])

    def screens(self) -> list[str]:
        """All screens so far, the oldest first; what was written before the first is none."""
        words = b"".join(self._written).decode(errors="replace").replace("\r\n", "\n")
        return [_CURSOR.sub("", screen).rstrip() for screen in words.split(CLEAR)[1:]]

    def stop(self) -> list[str]:
        """Interrupt the program as a person does, and return its screens."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
        try:
            self.child.wait(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self._reader.join(timeout=WAIT_S)
        return self.screens()


def show(argv: Sequence[str], *, env: Mapping[str, str], columns: int = 120, lines: int = 30) -> Terminal:
    """Run a program in a terminal of so many columns and lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    # Programs would believe the size of another terminal before that of their own.
    own = {name: value for name, value in env.items() if name not in {"COLUMNS", "LINES"}}
    child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=own, start_new_session=True)
    os.close(theirs)
    written: list[bytes] = []
    reader = threading.Thread(target=_read, args=(ours, written), name="terminal", daemon=True)
    reader.start()
    return Terminal(child=child, columns=columns, lines=lines, _reader=reader, _written=written)


def _read(ours: int, written: list[bytes]) -> None:
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                part = terminal.read(65536)
            except OSError:  # how a terminal says that the program has gone
                return
            if not part:
                return
            written.append(part)


def picture(screen: str, file: Path, *, title: str, columns: int) -> None:
    """Write a screen as an SVG that needs no font of its own, and whose bytes depend on nothing but the screen."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(screen), no_wrap=True, crop=True)
    svg = _FONT.sub("", console.export_svg(title=title, unique_id="terminal"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
