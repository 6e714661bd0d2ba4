"""A Kafka producer that takes over rotated credentials while it runs, and loses no record by it."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ray_apps.stores.secrets import LOOK_EVERY_S, Rotation, SecretsError
from recsys_schemas.kafka_access import FIELD, KafkaSecurity, Secrets, client_settings, diagnose

_LEFT_FOR_S = 10.0
"""A producer that was replaced stays at least so long: a caller may have taken it in hand just before."""
_SASL = frozenset({"username", "password"})

logger = logging.getLogger(__name__)

Delivered = Callable[[KafkaError | None, Message], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """A producer that was replaced, and when."""

    producer: Producer
    since: float


class RenewedProducer:
    """`produce` may be called from any thread; `poll` and `flush` from one."""

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        security: KafkaSecurity | None,
        settings: Mapping[str, Any],
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """Make the first producer.

        Args:
            bootstrap_servers: brokers as host:port.
            security: how they are reached; None for plain text.
            settings: librdkafka's settings besides the connection's.
            look_every_s: how often the Secrets are looked at, seconds.

        Raises:
            SecretsError: a Secret is not mounted here.
        """
        self._servers, self._security, self._settings = bootstrap_servers, security, dict(settings)
        self._rotation = Rotation(security, every_s=look_every_s)
        self._secrets = self._rotation.now
        self._said = ""
        self._left: list[_Left] = []
        self._producer = self._open(self._secrets)

    def produce(self, topic: str, value: bytes | None, key: bytes, on_delivery: Delivered | None = None) -> None:
        """Queue a record.

        Raises:
            BufferError: the queue is full.
        """
        if on_delivery is None:
            self._producer.produce(topic, value, key)
        else:
            self._producer.produce(topic, value, key, on_delivery=on_delivery)

    def poll(self, seconds: float) -> None:
        """Serve delivery reports for so long, and take over new credentials when there are some."""
        self._producer.poll(seconds)
        for left in self._left:
            left.producer.poll(0)
        old = time.monotonic() - _LEFT_FOR_S
        self._left = [left for left in self._left if left.since > old or len(left.producer)]
        try:
            if self._rotation.changed():
                self._renew(self._rotation.now)
        except SecretsError as error:
            self._tell(str(error))
        except KafkaException as error:
            # A certificate and its key were not read from the same rotation, or do not fit: what worked is kept, and they are read again.
            self._rotation.now = self._secrets
            self._tell(f"{FIELD}: the client cannot use the new credentials ({error.args[0].str()}); correct what the Secrets hold")

    def flush(self, seconds: float) -> int:
        """Wait until every record is delivered, for so long at most; returns how many are not."""
        end = time.monotonic() + seconds
        return sum(one.flush(max(end - time.monotonic(), 0.0)) for one in (self._producer, *(left.producer for left in self._left)))

    def _open(self, secrets: Secrets) -> Producer:
        connection = client_settings(self._servers, self._security, secrets)
        return Producer({**connection, **self._settings, "error_cb": self._on_error}, logger=logger)

    def _renew(self, secrets: Secrets) -> None:
        """A password is handed to the producer, for connections made from now on; certificates need another producer."""
        changed = {name for name, value in secrets.values.items() if self._secrets.values.get(name) != value}
        if changed <= _SASL:
            self._producer.set_sasl_credentials(secrets.values["username"], secrets.values["password"])
        else:
            fresh = self._open(secrets)
            self._left.append(_Left(producer=self._producer, since=time.monotonic()))
            self._producer = fresh
        self._secrets = secrets
        logger.info("credentials renewed", extra={"event": "CredentialsRenewed", "changed": sorted(changed)})

    def _on_error(self, error: KafkaError) -> None:
        diagnosed = diagnose(error.name(), error.str(), self._security)
        if diagnosed is not None:
            self._tell(diagnosed)

    def _tell(self, words: str) -> None:
        """Say it once: connections are tried again several times a second."""
        if words != self._said:
            self._said = words
            logger.error("credentials cannot be used", extra={"event": "KafkaRefused", "reason": words})
