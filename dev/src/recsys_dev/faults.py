"""The demo's fault switch: a file. While it is there, what is trained is written broken; the product knows nothing of it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSwitch:
    """On while its file exists."""

    file: Path

    @property
    def is_on(self) -> bool:
        """Whether what is trained now is to be broken."""
        return self.file.exists()

    def turn_on(self) -> None:
        """From now on versions are written broken."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("users joined one row off at write\n")

    def turn_off(self) -> None:
        """From now on versions are written as they were learnt."""
        self.file.unlink(missing_ok=True)
