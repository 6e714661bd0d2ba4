"""Serving: the one record that steers the replicas, made anew from what is written, and sent when it differs."""

from enum import StrEnum

from recsys_operator.plan import redeploying, shares
from recsys_operator.plan.names import app_name, route_prefix, token_secret, topics_by_role
from recsys_operator.plan.reports import own_app, reports
from recsys_operator.plan.topics import USABLE, Topics
from recsys_operator.state.actions import Action, DeployApp, EnsureTokens
from recsys_operator.state.observed import AppState, Observed, Unavailable
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.serving_record import (
    ContextCounting,
    ContextKey,
    FallbackStep,
    JwtTrust,
    RateLimit,
    ServingArguments,
    ServingRecord,
    Shuffle,
    Skip,
)
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.model_status import ServingRetry
from recsys_schemas.v1alpha1.rollout import RolloutStatus
from recsys_schemas.v1alpha1.serving import Popularity

_LONGEST_WORDS = 1500


class Serving(StrEnum):
    """The state of the serving application in one word."""

    ENGINE_UNAVAILABLE = "EngineUnavailable"
    WAITING = "Waiting"
    NO_TOKENS = "NoTokens"
    ROUTE_TAKEN = "RouteTaken"
    DIFFERENT = "Different"
    DEPLOYING = "Deploying"
    DEPLOY_FAILED = "DeployFailed"
    SENDING_AGAIN = "SendingAgain"
    UNHEALTHY = "Unhealthy"
    EMPTY = "Empty"
    RUNNING = "Running"


MOVES: dict[Serving, frozenset[Serving]] = {word: frozenset(Serving) for word in Serving}
"""Any word may follow any other: the cluster may vanish and come back at any time."""


def arguments(observed: Observed) -> ServingArguments:
    """What the application is started with."""
    model, roles = observed.model, topics_by_role(observed.model)
    access = model.spec.serving.access
    limit, logging = access.rate_limit, model.spec.serving.payload_logging
    return ServingArguments(
        namespace=model.key.namespace,
        name=model.key.name,
        uid=model.uid,
        storage_uri=model.storage_uri,
        bootstrap_servers=list(model.spec.kafka.bootstrap_servers),
        requests_topic=roles["Requests"].name,
        responses_topic=roles["Responses"].name,
        event_topics={role.lower(): roles[role].name for role in ("Watch", "Rate") if role in roles},
        preferences_topic=roles["Preferences"].name if "Preferences" in roles else None,
        items_topic=roles["Items"].name if "Items" in roles else None,
        audit_topic=roles["Audit"].name if "Audit" in roles else None,
        contexts=_contexts(model.spec.serving.popularity),
        exploration=model.spec.serving.exploration,
        logged_percent={"Off": 0, "Sampled": logging.sample_percent, "Full": 100}[logging.mode],
        answers_kafka=model.spec.serving.answer_kafka_requests,
        allowed_origins=list(access.allowed_origins),
        timeout_ms=model.spec.serving.timeout_milliseconds,
        fallback=[FallbackStep(step) for step in model.spec.serving.fallback],
        queue_ms=model.spec.serving.queue_milliseconds,
        kafka_security=model.spec.kafka.security.by_name(model.key.namespace),
        jwt=JwtTrust.model_validate(access.jwt.model_dump()) if access.jwt else None,
        rate_limit=RateLimit(per_second=limit.requests_per_second, burst=limit.burst) if limit else None,
    )


def _contexts(asked: Popularity) -> ContextCounting | None:
    if not asked.contexts:
        return None
    keys = [ContextKey(name=each.name, values=each.values, hours=sorted(each.hours), time_zone=each.time_zone) for each in asked.contexts]
    return ContextCounting(keys=keys, half_life_days=asked.half_life_days, shrinkage=asked.shrinkage)


def record(observed: Observed, status: RolloutStatus | None = None) -> ServingRecord:
    """The record that should be in force; its epoch grows only when something else in it changes."""
    app = own_app(observed)
    deployed = app.record if app else None
    written = observed.model.status.serving.epoch if observed.model.status.serving else 0
    asked, shuffle = shares.active(observed), observed.model.spec.serving.shuffle
    analysis = asked.spec.analysis if asked else observed.model.spec.rollout.analysis
    wanted = ServingRecord(
        epoch=deployed.epoch if deployed else 0,
        salt=observed.model.uid,
        arms=shares.arms(observed, status),
        attribution_seconds=analysis.attribution_seconds,
        tokens={} if isinstance(observed.tokens, Unavailable) else dict(observed.tokens),
        shuffle=Shuffle(share=shuffle.share, depth=shuffle.depth) if shuffle else None,
        skips=[
            Skip(topic=each.topic, partition=each.partition, first=each.first, last=each.last)
            for each in observed.model.spec.serving.online.skip
        ],
    )
    if deployed == wanted:
        return wanted
    return wanted.model_copy(update={"epoch": max(wanted.epoch, written) + 1})


def _rival(observed: Observed) -> AppState | None:
    """Another application on our path."""
    assert not isinstance(observed.ray, Unavailable)
    route, own = route_prefix(observed.model), app_name(observed.model)
    return next((app for app in observed.ray.apps.values() if app.name != own and app.route_prefix == route), None)


def _differs(observed: Observed, app: AppState | None, wanted: ServingRecord) -> bool:
    if app is None:
        return True
    spec = observed.model.spec.serving
    same = app.arguments == arguments(observed) and app.record == wanted
    many = app.autoscaling == spec.autoscaling and (spec.autoscaling is not None or app.replicas_wanted == spec.replicas)
    return not (same and many and app.resources == spec.resources and app.route_prefix == route_prefix(observed.model))


def judge(observed: Observed, topics: Topics, status: RolloutStatus | None) -> Serving:
    """The state of the application in one word; `status` is the rollout status that this pass writes."""
    if isinstance(observed.ray, Unavailable):
        return Serving.ENGINE_UNAVAILABLE
    app = own_app(observed)
    if isinstance(observed.tokens, Unavailable) or not observed.tokens:
        return Serving.NO_TOKENS
    if _rival(observed):
        return Serving.ROUTE_TAKEN
    if app is None and topics not in USABLE:
        return Serving.WAITING
    if _differs(observed, app, record(observed, status)):
        return Serving.DIFFERENT
    assert app is not None
    if app.word == "DEPLOY_FAILED":
        return Serving.SENDING_AGAIN if redeploying.due(observed) else Serving.DEPLOY_FAILED
    if app.word == "UNHEALTHY":
        return Serving.UNHEALTHY
    seen = reports(observed)
    if app.word != "RUNNING" or app.record is None or seen is None or not seen.verified(app.record.epoch):
        return Serving.DEPLOYING
    return Serving.RUNNING if app.record.arms else Serving.EMPTY


def act(word: Serving, observed: Observed, status: RolloutStatus | None) -> Part:
    """What to do about it, and what to say of it."""
    actions: tuple[Action, ...] = ()
    if word is Serving.NO_TOKENS and not isinstance(observed.tokens, Unavailable):
        actions = (EnsureTokens(secret=token_secret(observed.model)),)
    if word in (Serving.DIFFERENT, Serving.SENDING_AGAIN):
        deploy = DeployApp(
            name=app_name(observed.model),
            route_prefix=route_prefix(observed.model),
            replicas=observed.model.spec.serving.replicas,
            autoscaling=observed.model.spec.serving.autoscaling,
            resources=observed.model.spec.serving.resources,
            arguments=arguments(observed),
            record=_renewed(observed, status) if word is Serving.SENDING_AGAIN else record(observed, status),
        )
        actions = (deploy,)
    busy = word in (Serving.NO_TOKENS, Serving.DIFFERENT, Serving.SENDING_AGAIN, Serving.DEPLOYING)
    return Part(actions=actions, facts=(_given_up(word, observed) or _fact(word, observed),), busy=busy)


def retry(word: Serving, observed: Observed) -> ServingRetry | None:
    """What the status keeps of an application that does not start."""
    match word:
        case Serving.DEPLOY_FAILED | Serving.SENDING_AGAIN:
            return redeploying.after(observed, sent=word is Serving.SENDING_AGAIN)
        case Serving.RUNNING | Serving.EMPTY:
            return None
        case _:
            return redeploying.remembered(observed)


def _renewed(observed: Observed, status: RolloutStatus | None) -> ServingRecord:
    """The same record under a higher epoch: a config that does not differ would not be tried again."""
    same = record(observed, status)
    return same.model_copy(update={"epoch": same.epoch + 1})


def _fact(word: Serving, observed: Observed) -> Fact:
    def fact(holds: bool | None, message: str) -> Fact:
        return Fact(type=ConditionType.SERVING, holds=holds, reason=str(word), message=message[:2000])

    app = own_app(observed)
    match word:
        case Serving.ENGINE_UNAVAILABLE:
            return fact(None, observed.ray.message if isinstance(observed.ray, Unavailable) else "")
        case Serving.NO_TOKENS:
            waits = observed.tokens.message if isinstance(observed.tokens, Unavailable) else "the API's tokens are being made"
            return fact(False if isinstance(observed.tokens, Unavailable) else None, waits)
        case Serving.ROUTE_TAKEN:
            rival = _rival(observed)
            name = rival.name if rival else ""
            message = (
                f"spec.serving.routePrefix: {route_prefix(observed.model)} is taken by the application {name} on this Ray cluster; "
                "set another spec.serving.routePrefix"
            )
            return fact(False, message)
        case Serving.WAITING:
            return fact(None, "waits for the topics")
        case Serving.DIFFERENT | Serving.DEPLOYING:
            return fact(None if app is None else _serves(observed), f"the application is being brought to its record{_tail(app)}")
        case Serving.UNHEALTHY | Serving.DEPLOY_FAILED | Serving.SENDING_AGAIN:
            return fact(False, f"Ray Serve says {app.word if app else ''}: {app.message if app else ''}")
        case Serving.EMPTY:
            return fact(None, "the API is up and waits for the first version")
        case Serving.RUNNING:
            served = ", ".join(f"{arm.version} {arm.share} %" for arm in shares.arms(observed))
            return fact(True, f"{served}, verified in every replica")


def _serves(observed: Observed) -> bool | None:
    """While a record changes, what served before goes on serving."""
    app = own_app(observed)
    return True if app and app.running_replicas and app.record and app.record.arms else None


def _given_up(word: Serving, observed: Observed) -> Fact | None:
    """What is told of an application that does not start, also while it is tried again: a new start alone mends nothing."""
    app = own_app(observed)
    if word in (Serving.DEPLOY_FAILED, Serving.SENDING_AGAIN):
        words = f"Ray Serve gave the application up ({redeploying.words(observed)}): {app.message[-_LONGEST_WORDS:] if app else ''}"
    elif word in (Serving.DIFFERENT, Serving.DEPLOYING) and redeploying.remembered(observed) is not None and not _serves(observed):
        words = next((each.message for each in observed.model.status.conditions if each.type == ConditionType.SERVING), "")
    else:
        return None
    return Fact(type=ConditionType.SERVING, holds=False, reason=str(Serving.DEPLOY_FAILED), message=words)


def _tail(app: AppState | None) -> str:
    return f" ({app.word.lower()}: {app.message})" if app and app.message else ""
