"""What the demo claims, and whether it held."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim: what, whether it held, and what was seen."""

    name: str
    held: bool
    seen: str


@dataclass(slots=True)
class Claims:
    """All claims of a run, in the order of its steps."""

    all: list[Claim] = field(default_factory=list[Claim])

    def check(self, name: str, held: bool, seen: str) -> bool:
        """Note a claim; returns whether it held."""
        self.all.append(Claim(name=name, held=held, seen=seen))
        return held

    @property
    def broken(self) -> list[Claim]:
        """Those that did not hold."""
        return [claim for claim in self.all if not claim.held]

    def told(self, most: int | None = None) -> dict[str, dict[str, object]]:
        """For a report: claim → whether it held, and what was seen, so many letters of it at most."""
        return {claim.name: {"held": claim.held, "seen": claim.seen[:most]} for claim in self.all}
