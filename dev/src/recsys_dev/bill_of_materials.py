"""What is in an image, in CycloneDX's words: Python packages from the lock that it was made from, Debian's from its own list."""

import json
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.markers import Marker

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)\s*(?:;\s*(.*?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
PYTHON = {
    "python_version": "3.11",
    "python_full_version": "3.11.2",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
"""Where the lock's markers are judged: in the image, not here."""


def python_components(lock: str) -> list[dict[str, Any]]:
    """Read a lock: one component for each package that the image installs. Its hashes are those of all its files that would be accepted."""
    found: list[dict[str, Any]] = []
    wanted = False
    for line in lock.splitlines():
        if match := _PINNED.match(line):
            name, version, marker = match.groups()
            wanted = marker is None or Marker(marker).evaluate(dict(PYTHON))
            if wanted:
                found.append(
                    {
                        "type": "library",
                        "name": name,
                        "version": version,
                        "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}",
                        "bom-ref": f"pypi-{name}",
                        "properties": [],
                    }
                )
        elif wanted and (hashed := _HASH.search(line)):
            found[-1]["properties"].append({"name": "recsys:acceptedSha256", "value": hashed.group(1)})
    return found


def debian_components(status: str) -> list[dict[str, Any]]:
    """Read dpkg's status file: one component for each package that is installed."""
    found: list[dict[str, Any]] = []
    for paragraph in status.split("\n\n"):
        said = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith(" "))
        if "Package" in said and "installed" in said.get("Status", ""):
            name, version = said["Package"], said["Version"]
            purl = f"pkg:deb/debian/{name}@{version}?arch={said.get('Architecture', 'all')}&distro=bookworm"
            found.append({"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": f"deb-{name}"})
    return found


def write_bill(file: Path, tag: str, lock: Path, status: str, epoch: int) -> None:
    """Write the bill of materials of an image; the same image has the same bill."""
    components = [*python_components(lock.read_text()), *debian_components(status)]
    name, _, version = tag.partition(":")
    listed = json.dumps(components, sort_keys=True)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{tag} {listed}')}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "container", "name": name, "version": version, "bom-ref": tag},
        },
        "components": components,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(bill, indent=2) + "\n")
