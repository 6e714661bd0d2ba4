"""A terminal of a program's own: what it draws is kept screen by screen, and becomes a picture."""

import os
import sys
import time
from pathlib import Path

from recsys_dev.terminal import picture, show

DRAWS = r"""
import shutil, sys, time
print(sys.stdout.isatty(), end="")
for number in range(2):
    print(f"\x1b[?25l\x1b[H\x1b[Jscreen {number} of \x1b[31m{shutil.get_terminal_size().columns}\x1b[0m", end="", flush=True)
time.sleep(600)
"""


def test_every_screen_that_a_program_draws_is_kept_and_the_last_becomes_a_picture(tmp_path: Path) -> None:
    there = show([sys.executable, "-c", DRAWS], env=os.environ, columns=77)
    end = time.monotonic() + 60
    while len(there.screens()) < 2:
        assert time.monotonic() < end, there.screens()
        time.sleep(0.01)
    screens = there.stop()
    assert screens[0] == "screen 0 of \x1b[31m77\x1b[0m"
    picture(screens[0], tmp_path / "once.svg", title="a program", columns=77)
    picture(screens[0], tmp_path / "again.svg", title="a program", columns=77)
    drawn = (tmp_path / "once.svg").read_text()
    assert drawn == (tmp_path / "again.svg").read_text()
    assert "screen&#160;0&#160;of" in drawn
    assert "url(http" not in drawn.replace('"', ""), "a picture that fetches nothing"
