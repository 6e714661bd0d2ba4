"""One client of a Kafka cluster: how it is opened, and what is said when its calls fail."""

# The admin module offers these names, but does not list them as its own.
# pyright: reportPrivateImportUsage=false

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from recsys_operator.world.connection import Connection
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.offsets_seen import OffsetsSeen
from recsys_operator.world.probe import probe_all
from recsys_schemas.kafka_access import FIELD as SECURITY
from recsys_schemas.kafka_access import FIELDS, GRANT, SETTINGS, diagnose

CALL_S = 5.0
CHANGE_S = 20.0
_FIELD = "spec.kafka.bootstrapServers"

DENIED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})


@dataclass(slots=True)
class Brokers:
    """One cluster: its client, and what need not be asked each second."""

    admin: AdminClient
    known: bool = False
    """Whether it has answered before, so that the client knows more addresses than it was given."""
    configs: dict[str, tuple[float, Mapping[str, str]]] = field(default_factory=dict[str, tuple[float, Mapping[str, str]]])
    swept_at: float = 0.0
    """When those that nobody has asked for were last taken out of it."""
    ends: dict[tuple[str, int], OffsetsSeen] = field(default_factory=dict[tuple[str, int], OffsetsSeen])
    looking: threading.Lock = field(default_factory=threading.Lock)
    """Held while `ends` is read or changed."""
    told: dict[str, str] = field(default_factory=dict[str, str])
    """Errors of the connections since the last answer: name → words. Calls that fail say only that no broker could be used."""
    used_at: float = 0.0
    hidden: dict[str, float] = field(default_factory=dict[str, float])
    """Topics that the brokers say exist when one is to be made, and do not show: since when."""


def open_client(at: Connection) -> Brokers:
    """Make a client; it connects by itself, and keeps what its connections meet in `told`.

    Raises:
        RefusedError: a Secret holds what no client can use, a key of another certificate for instance.
    """
    told: dict[str, str] = {}

    def tell(error: KafkaError) -> None:
        told[error.name()] = error.str()

    settings: dict[str, Any] = {
        **at.settings(),
        "client.id": "recsys-operator",
        "socket.timeout.ms": int(CHANGE_S * 1000),
        "socket.connection.setup.timeout.ms": int(CALL_S * 1000),
        "reconnect.backoff.max.ms": 2000,
        # Its own log lines are not JSON; what matters comes as errors, and is told in a condition.
        "log_level": 0,
        "error_cb": tell,
    }
    with settings_that_work():
        return Brokers(admin=AdminClient(settings), told=told)


@contextmanager
def settings_that_work() -> Generator[None]:
    """Around the making of a client.

    Raises:
        RefusedError: a Secret holds what no client can use.
    """
    try:
        yield
    except KafkaException as error:
        words = words_of(error)
        field_ = next((FIELDS[name] for name, setting in SETTINGS.items() if setting in words), SECURITY)
        raise RefusedError(f"{field_}: the client cannot use it ({words}); correct what the Secret holds") from error


def raise_refusal(at: Connection, brokers: Brokers, error: KafkaException | TimeoutError) -> None:
    """Tell a refusal from silence: calls that fail say neither why nor by whom.

    Raises:
        RefusedError: the brokers do not let us in, or we do not trust them, or they deny this call.
    """
    brokers.admin.poll(0)  # hands over what the connections met
    seen = dict(brokers.told)
    brokers.told.clear()
    if (refused := refusal(at, seen)) is not None:
        raise refused from error
    if isinstance(error, KafkaException) and error.args[0].code() in DENIED:
        raise RefusedError(f"Kafka: {words_of(error)}; {GRANT}") from error


def refusal(at: Connection, told: Mapping[str, str]) -> RefusedError | None:
    """Why the brokers do not let us in, by what connections met: name of each error → its words; None where it says no such thing."""
    diagnosed = (diagnose(name, words, at.security) for name, words in sorted(told.items()))
    return next((RefusedError(words) for words in diagnosed if words is not None), None)


def words_of(error: KafkaException | TimeoutError) -> str:
    """What an error says, without its class and code."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    inner = error.args[0]
    return inner.str() if isinstance(inner, KafkaError) else str(inner)


async def silence(at: Connection, why: str) -> UnavailableError:
    """The error of brokers that do not answer, with what a plain connection to each address says."""
    seen = await probe_all(at.bootstrap_servers)
    words = f"{_FIELD}: no broker answers at {', '.join(at.bootstrap_servers)} ({why}; {'; '.join(each.words for each in seen)})"
    protocol = at.security.protocol if at.security else "PLAINTEXT"
    asked = f", or set {SECURITY}.protocol (now {protocol}) to that of the listener" if any(each.open for each in seen) else ""
    return UnavailableError(f"{words}; start the brokers or correct the addresses{asked}")
