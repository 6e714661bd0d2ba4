"""Webhooks: one POST for a decision, in the words of who is told, signed where a key is named."""

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx

from recsys_operator.state.actions import Notify
from recsys_operator.state.observed import ModelState
from recsys_operator.world.courier import Send
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import Json, seen
from recsys_operator.world.tokens import read_secret_key
from recsys_schemas.news import News
from recsys_schemas.v1alpha1.telling import Notification

if TYPE_CHECKING:
    from recsys_operator.world.world import World

CALL_S = 10.0
_ALARMING = frozenset({"RolledBack", "Aborted", "Superseded", "Inconclusive"})


def sender(world: "World", model: ModelState, action: Notify) -> Send:
    """What sends it: with the Secrets as they are at that moment."""

    async def send() -> None:
        place, namespace = action.place, model.key.namespace
        field = f"spec.notifications[{place.name}]"
        url, key = place.url or "", b""
        if place.url_secret_ref is not None:
            ref = place.url_secret_ref
            url = await read_secret_key(world.kube, namespace, ref.name, ref.key, f"{field}.urlSecretRef")
        if place.hmac_secret_ref is not None:
            ref = place.hmac_secret_ref
            key = (await read_secret_key(world.kube, namespace, ref.name, ref.key, f"{field}.hmacSecretRef")).encode()
        world.must_lead()
        await post(world.http, Address(field=field, url=url, key=key), place, action.news)

    return send


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a message goes; `field` is what names it in the model."""

    field: str
    url: str = dataclass_field(repr=False)
    key: bytes = dataclass_field(default=b"", repr=False)


async def post(http: httpx.AsyncClient, to: Address, place: Notification, news: News) -> None:
    """Send one message.

    Raises:
        UnavailableError: no answer in time, or one that says so; tried again.
        RefusedError: an answer that says no.
    """
    body = json.dumps(body_of(place, news), ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "recsys-operator"}
    if place.format == "JSON":
        headers |= {"X-Recsys-Id": news.id, "Idempotency-Key": news.id}
    if to.key:
        headers |= signature(to.key, body, int(time.time()))
    try:
        async with asyncio.timeout(CALL_S):
            answer = await http.post(to.url, content=body, headers=headers, timeout=CALL_S)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        # Never the URL: it may be a secret.
        raise UnavailableError(f"{to.field}: no answer within {CALL_S:g} s ({seen(error)[:200].replace(to.url, '(its url)')})") from None
    if answer.is_success:
        return
    if answer.status_code in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or answer.is_server_error:
        raise UnavailableError(f"{to.field}: it answers {answer.status_code}")
    raise RefusedError(f"{to.field}: it answers {answer.status_code}; correct its url")


def signature(key: bytes, body: bytes, seconds: int) -> dict[str, str]:
    """Headers by which the receiver knows who sent it, and when: HMAC-SHA256 over `<seconds>.<body>`."""
    digest = hmac.new(key, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Recsys-Timestamp": str(seconds), "X-Recsys-Signature": f"sha256={digest}"}


def body_of(place: Notification, news: News) -> Json:
    """The message in the form that the receiver takes."""
    match place.format:
        case "JSON":
            return news.model_dump(mode="json")
        case "Slack":
            return {"text": f"{_sign(news)} {_escaped(news.sentence)}"[:3000]}
        case "Discord":
            # Words are the operator's and users': nobody is called by them.
            return {"content": f"{_sign(news)} {news.sentence}"[:2000], "allowed_mentions": {"parse": []}}
        case "Teams":
            return _card(news)


def _sign(news: News) -> str:
    return "🔴" if news.verdict in _ALARMING else "🟢" if news.verdict in ("Promoted", "Confirmed") else "🔵"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _card(news: News) -> Json:
    facts = {"Model": f"{news.model.namespace}/{news.model.name}", "Candidate": news.candidate, "Stable": news.stable or "-"}
    facts |= {"Share": f"{news.weight} %"} | ({"Asked by": news.by} if news.by else {})
    content: Json = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            {"type": "TextBlock", "weight": "Bolder", "wrap": True, "text": f"{_sign(news)} {news.rollout}: {news.verdict}"},
            {"type": "FactSet", "facts": [{"title": title, "value": value} for title, value in facts.items()]},
            {"type": "TextBlock", "wrap": True, "text": news.words[:2000]},
        ],
    }
    return {"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": content}]}
