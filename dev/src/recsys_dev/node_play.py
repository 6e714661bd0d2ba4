"""What the acts on a real node share."""

from dataclasses import dataclass, field
from typing import Any

from recsys_dev.audience import SimulatedAudience
from recsys_dev.claims import Claims
from recsys_dev.eyes import Eyes
from recsys_dev.node_line import NodeLine
from recsys_dev.producer import EventProducer
from recsys_dev.steps import Steps
from recsys_dev.story import Story
from recsys_dev.traffic import Traffic


@dataclass(slots=True, kw_only=True)
class Play:
    """The run under way."""

    steps: Steps
    line: NodeLine
    eyes: Eyes
    story: Story
    audience: SimulatedAudience
    producer: EventProducer
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    traffic: Traffic | None = None

    @property
    def claims(self) -> Claims:
        """What is claimed of the run."""
        return self.steps.claims
