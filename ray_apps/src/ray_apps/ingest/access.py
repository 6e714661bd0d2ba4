"""How a session comes in: it meets the brokers, hears why they refuse it, and sees that its credentials have changed."""

from confluent_kafka import Consumer, KafkaError, KafkaException

from ray_apps.ingest.work import Log
from ray_apps.stores.secrets import Rotation, SecretsError
from recsys_schemas.kafka_access import diagnose
from recsys_schemas.train_job import IngestJob

_CALL_S = 10.0


class KafkaRefusedError(Exception):
    """The brokers do not let us in, or we do not trust them; the message names the field, what was seen and the mend."""


class Access:
    """The connection of one session; its Secrets are read when it is made, before any client is."""

    def __init__(self, job: IngestJob, log: Log) -> None:
        """Read the Secrets.

        Raises:
            SecretsError: one of them is not mounted here.
        """
        self._job = job
        self._log = log
        self._rotation = Rotation(job.kafka_security)
        self._refusal = ""

    def on_error(self, error: KafkaError) -> None:
        """Hear of an error from a client; a refusal is logged once, for connections are tried again several times a second."""
        diagnosed = diagnose(error.name(), error.str(), self._job.kafka_security)
        if diagnosed is None:
            self._log("kafka client", error=error.str(), code=error.name(), mend="waiting: the client connects again by itself")
        elif diagnosed != self._refusal:
            self._refusal = diagnosed
            self._log("kafka client refused", error=diagnosed, code=error.name())

    def meet(self, consumer: Consumer) -> str:
        """Ask the brokers for their cluster's id: a call that fails does not say why, but the client's errors do.

        Raises:
            KafkaRefusedError: they do not let us in.
            KafkaException: they do not answer.
        """
        try:
            return consumer.list_topics(self._job.topics[0].topic, timeout=_CALL_S).cluster_id
        except KafkaException as error:
            consumer.poll(0)  # hands over the errors
            if self._refusal:
                raise KafkaRefusedError(self._refusal) from error
            raise

    def rotated(self) -> bool:
        """Whether other credentials are there: the next session connects with them."""
        try:
            rotated = self._rotation.changed()
        except SecretsError as error:
            self._log("secrets cannot be read", error=str(error), mend="reading goes on with what was read before")
            return False
        if rotated:
            self._log("credentials changed", mend="a new session connects with them")
        return rotated
