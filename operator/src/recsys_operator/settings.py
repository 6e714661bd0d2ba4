"""Settings of the process, from `RECSYS_*` variables; everything about a model is in the model."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class SettingsError(Exception):
    """A setting cannot be used; the message names it, the value seen, and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the process was started with."""

    storage_root: str
    """RECSYS_STORAGE_ROOT: file:// or s3:// folder for models that name no storage."""
    watch_namespaces: tuple[str, ...]
    """RECSYS_WATCH_NAMESPACES: comma list; empty means all."""
    lease_namespace: str
    """RECSYS_LEASE_NAMESPACE: default the pod's own, else `default`."""
    lease_name: str
    """RECSYS_LEASE_NAME."""
    http_host: str
    """RECSYS_HTTP_HOST: where /healthz, /readyz and /metrics listen."""
    http_port: int
    """RECSYS_HTTP_PORT."""
    log_level: str
    """RECSYS_LOG_LEVEL."""
    training_command: str
    """RECSYS_TRAINING_COMMAND: the program of a training job; ` --job ...` is added."""
    ray_image: str = ""
    """RECSYS_RAY_IMAGE: what pods of kept Ray clusters run when the model names no image."""


def read_settings(env: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment.

    Raises:
        SettingsError: a value cannot be used.
    """
    return Settings(
        storage_root=_storage(env.get("RECSYS_STORAGE_ROOT") or "file:///var/lib/recsys"),
        watch_namespaces=_namespaces(env.get("RECSYS_WATCH_NAMESPACES", "")),
        lease_namespace=_label("RECSYS_LEASE_NAMESPACE", env.get("RECSYS_LEASE_NAMESPACE") or _own_namespace()),
        lease_name=_label("RECSYS_LEASE_NAME", env.get("RECSYS_LEASE_NAME") or "recsys-operator"),
        http_host=env.get("RECSYS_HTTP_HOST") or "127.0.0.1",
        http_port=_port(env.get("RECSYS_HTTP_PORT") or "8080"),
        log_level=_level(env.get("RECSYS_LOG_LEVEL") or "INFO"),
        training_command=env.get("RECSYS_TRAINING_COMMAND") or "python -m ray_apps.training",
        ray_image=env.get("RECSYS_RAY_IMAGE", ""),
    )


def _own_namespace() -> str:
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.is_file() else "default"


def _storage(value: str) -> str:
    parts = urlsplit(value)
    local = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    if not local and not (parts.scheme == "s3" and parts.netloc):
        raise SettingsError(f"RECSYS_STORAGE_ROOT: {value!r} is no folder; write file:///absolute/path or s3://bucket/prefix")
    return value.rstrip("/")


def _namespaces(value: str) -> tuple[str, ...]:
    return tuple(_label("RECSYS_WATCH_NAMESPACES", name.strip()) for name in value.split(",") if name.strip())


def _label(variable: str, value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise SettingsError(f"{variable}: {value!r} is no Kubernetes name; write lower case letters, digits and '-'")
    return value


def _port(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise SettingsError(f"RECSYS_HTTP_PORT: {value!r} is no port; write a number from 1 to 65535")
    return int(value)


def _level(value: str) -> str:
    if value.upper() not in _LEVELS:
        raise SettingsError(f"RECSYS_LOG_LEVEL: {value!r} is no level; write one of {', '.join(_LEVELS)}")
    return value.upper()
