from pathlib import Path
from typing import Any

import yaml

CONFIG: dict[str, Any] = yaml.safe_load(Path(__file__).parents[3].joinpath("kind-config.yaml").read_text())
NODES: list[dict[str, Any]] = CONFIG["nodes"]


def test_three_workers_stand_in_three_zones():
    workers = [node for node in NODES if node["role"] == "worker"]
    assert len({worker["labels"]["topology.kubernetes.io/zone"] for worker in workers}) == 3
    assert [node["role"] for node in NODES].count("control-plane") == 1


def test_every_port_of_this_machine_is_on_loopback():
    mappings = [mapping for node in NODES for mapping in node.get("extraPortMappings", [])]
    assert {mapping["hostPort"]: mapping["containerPort"] for mapping in mappings} == {8000: 30800, 8265: 30265}
    assert {mapping["listenAddress"] for mapping in mappings} == {"127.0.0.1"}
