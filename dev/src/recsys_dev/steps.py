"""The steps of a long run, told to whoever watches, with how long each took; and its claims at the end, on the screen and as JSON."""

import contextlib
import json
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from recsys_dev.claims import Claims
from recsys_dev.figures import REPORTS


@dataclass(slots=True, kw_only=True)
class Steps:
    """What a run has done so far."""

    console: Console
    claims: Claims = field(default_factory=Claims)
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    began: float = field(default_factory=time.monotonic)

    def tell(self, words: str) -> None:
        """One line for a person."""
        self.console.print(f"   {words}", markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def step(self, title: str) -> Generator[None]:
        """Say what begins, then how long it took."""
        self.console.print(f"\n[bold]{title}[/bold]", highlight=False)
        began = time.monotonic()
        yield
        self.seconds[title] = round(time.monotonic() - began, 1)
        self.console.print(f"   done in {self.seconds[title]:.0f} s", style="dim", highlight=False)

    def report(self, title: str, name: str, more: Mapping[str, Any]) -> int:
        """Show the claims, and write them with the seconds and `more` to build/reports; return the exit status: 1 when one did not hold."""
        self.seconds["all"] = round(time.monotonic() - self.began, 1)
        table = Table(title=f"{title}: {self.seconds['all']:.0f} s", title_justify="left")
        for column in ("claim", "holds", "seen"):
            table.add_column(column)
        for claim in self.claims.all:
            table.add_row(claim.name, "yes" if claim.held else "NO", claim.seen[:160], style=None if claim.held else "red")
        self.console.print(table)
        REPORTS.mkdir(parents=True, exist_ok=True)
        told_of = [{"name": each.name, "held": each.held, "seen": each.seen} for each in self.claims.all]
        report = {"claims": told_of, "seconds": self.seconds, **more}
        REPORTS.joinpath(f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
        return 1 if self.claims.broken else 0
