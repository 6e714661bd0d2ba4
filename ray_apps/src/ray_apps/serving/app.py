"""The Ray Serve application of one model: `import_path: ray_apps.serving.app:build`, `args`: ServingArguments."""

import gc
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from ray.serve import Application
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig
from threadpoolctl import threadpool_limits

from ray import serve
from ray_apps.algorithms import load_model
from ray_apps.serving.answer_log import AnswerLog
from ray_apps.serving.api import Api
from ray_apps.serving.arms import Arms
from ray_apps.serving.beside import Beside
from ray_apps.serving.contexts.counting import Contexts
from ray_apps.serving.contexts.following import ContextFollower
from ray_apps.serving.counters import Tallies
from ray_apps.serving.cross_origin import CrossOrigin
from ray_apps.serving.door import Door
from ray_apps.serving.event_writer import EventWriter
from ray_apps.serving.feedback import Credits
from ray_apps.serving.following import Source
from ray_apps.serving.guests import bound_connections
from ray_apps.serving.in_hand import RUNNING_REQUESTS
from ray_apps.serving.jwks import KeySet
from ray_apps.serving.jwt_bearer import Bearers
from ray_apps.serving.liked import Liked
from ray_apps.serving.limits import RateLimits
from ray_apps.serving.logs import log_as_json
from ray_apps.serving.metrics import AnswerMetrics
from ray_apps.serving.mixed_clicks import MixedClicks
from ray_apps.serving.one_write import answer_in_one_write
from ray_apps.serving.online.following import Follower
from ray_apps.serving.replica import Replica
from ray_apps.serving.reporting import Reporter
from ray_apps.serving.request_ids import key_of
from ray_apps.serving.ripening import Ripening
from ray_apps.serving.shadowing import Shadow
from ray_apps.serving.told.following import ITEMS, PREFERENCES, ToldFollower
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import LoadedVersion, open_version
from recsys_schemas.serving_record import ServingArguments

SWITCH_SECONDS = 0.0005
"""How long one thread may keep the others from Python."""

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where versions from remote stores are kept on this node; replicas share it."""
    return Path(os.environ.get("RECSYS_VERSION_CACHE", str(Path(tempfile.gettempdir()) / "recsys-versions")))


def assemble(arguments: ServingArguments, replica_id: str) -> Replica:
    """Put a replica together and start its threads."""
    store = open_store(arguments.storage_uri)

    def opener(version: str, digest: str) -> LoadedVersion:
        return open_version(store, version, digest, cache_folder(), load_model)

    source = Source(
        name=f"{arguments.namespace}.{arguments.name}",
        bootstrap_servers=arguments.bootstrap_servers,
        topics={topic: event_type for event_type, topic in arguments.event_topics.items()},
        security=arguments.kafka_security,
    )
    arms = Arms(
        opener,
        lambda followed, trained, places: Follower(source, followed, trained, places, mixed),
        Beside(exploration=arguments.exploration, contexts=count_contexts(arguments, source)),
    )
    key = key_of(arguments.uid)
    tallies = Tallies()
    ripening = Ripening(tallies)
    mixed, liked = MixedClicks(), Liked()
    return Replica(
        replica_id=replica_id,
        arguments=arguments,
        id_key=key,
        arms=arms,
        told=follow_told(arguments, arms),
        tallies=tallies,
        ripening=ripening,
        credits=Credits(key, ripening),
        log=AnswerLog(
            arguments.bootstrap_servers,
            arguments.requests_topic,
            arguments.responses_topic,
            security=arguments.kafka_security,
        ),
        events=EventWriter(arguments.bootstrap_servers, arguments.kafka_security),
        metrics=AnswerMetrics(f"{arguments.namespace}/{arguments.name}"),
        shadow=Shadow(liked),
        mixed=mixed,
        liked=liked,
        bearers=Bearers(arguments.jwt, KeySet(arguments.jwt.jwks_uri)) if arguments.jwt else None,
        limits=RateLimits(arguments.rate_limit.per_second, arguments.rate_limit.burst) if arguments.rate_limit else None,
    )


def count_contexts(arguments: ServingArguments, source: Source) -> ContextFollower | None:
    """Count likes by context, where contexts are declared."""
    return ContextFollower(source, Contexts(arguments.contexts)) if arguments.contexts else None


def follow_told(arguments: ServingArguments, arms: Arms) -> ToldFollower | None:
    """Follow preferences and live items, where the model has topics of them."""
    topics = {arguments.preferences_topic: PREFERENCES, arguments.items_topic: ITEMS}
    source = Source(
        name=f"{arguments.namespace}.{arguments.name}",
        bootstrap_servers=arguments.bootstrap_servers,
        topics={topic: kind for topic, kind in topics.items() if topic is not None},
        security=arguments.kafka_security,
    )
    return ToldFollower(source, arms.beside.told, arms.renew) if source.topics else None


@serve.deployment(
    name="Recommender",
    ray_actor_options={"num_cpus": 0.5},
    # The API refuses what it cannot bear by itself, sooner and better: these bounds are what stands behind it.
    max_ongoing_requests=256,
    max_queued_requests=512,
    backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
    health_check_period_s=5,
    health_check_timeout_s=20,
    graceful_shutdown_timeout_s=10,
    # A line for each request says less than the answer log does, and costs a twentieth of an answer.
    # Below warnings its records are not even made.
    logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
)
@serve.ingress()  # pyright: ignore[reportUntypedClassDecorator]
class Recommender:
    """One replica: holds the versions as arms and answers HTTP itself."""

    def __init__(self, arguments: dict[str, JsonValue]) -> None:
        """Start the replica's parts; versions load in the background once a record comes."""
        log_as_json()
        # One small matrix product per request: threads of BLAS would only fight with the other replicas for the cores.
        threadpool_limits(limits=1)
        # Threads that log and follow give way to the one that answers sooner than after the usual 5 ms.
        sys.setswitchinterval(SWITCH_SECONDS)
        Door.ours = True
        bound_connections()
        answer_in_one_write()
        asked = ServingArguments.model_validate(arguments)
        self._replica = assemble(asked, serve.get_replica_context().replica_id.unique_id)
        self._reporter = Reporter(asked.uid, self._replica.report)
        # What is there now stays: a full collection would look at 175,000 objects again, and nobody is answered for a tenth of a second.
        gc.collect()
        gc.freeze()

    def __serve_build_asgi_app__(self) -> Api | CrossOrigin:
        """The ASGI application that Ray Serve's ingress calls."""
        api = Api(self._replica, self._reporter.evidence)
        origins = self._replica.arguments.allowed_origins
        return CrossOrigin(api, frozenset(origins)) if origins else api

    def reconfigure(self, user_config: Any) -> None:
        """Take the ServingRecord in `user_config`. Swaps pointers; never raises, for Ray Serve would stop the replica."""
        if self._replica.arms.apply(user_config):
            self._reporter.nudge()
            logger.info("record taken", extra={"event": "RecordTaken", "epoch": user_config["epoch"]})

    def check_health(self) -> None:
        """Ray Serve's periodic question.

        Raises:
            RuntimeError: a part has ended; Ray Serve then replaces the replica.
        """
        ill = self._replica.ill()
        if ill:
            raise RuntimeError(ill)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve's autoscaling asks now and then, in place of its own count: see `in_hand`."""
        return {RUNNING_REQUESTS: self._replica.in_hand.mean}

    def __del__(self) -> None:
        """Write out what is queued before the replica ends."""
        self._reporter.close()
        self._replica.close()


def build(args: dict[str, JsonValue]) -> Application:
    """Build the application; a wrong argument fails the deployment with its name in the message."""
    arguments = ServingArguments.model_validate(args)
    return Recommender.bind(arguments.model_dump(mode="json"))
