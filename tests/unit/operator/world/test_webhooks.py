"""Webhooks against a real HTTP server that fails, delays, hangs and comes back: who waits, what arrives, and how often."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest

from recsys_operator.world import webhooks
from recsys_operator.world.courier import Courier
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.webhooks import Address, body_of, post
from recsys_schemas.news import News
from recsys_schemas.train_job import ModelIdentity
from recsys_schemas.v1alpha1.telling import Notification
from unit.operator.world.receiving import DEADLINE_S, Receiver, receiving, signed

KEY = b"a key of the test"


def news(number: int, verdict: str = "Promoted", words: str = "reward 3/10 <against> 2/10 & more") -> News:
    return News(
        id=f"uid/movies-000002/{number}",
        model=ModelIdentity(namespace="films", name="movies", uid="uid"),
        rollout="movies-000002",
        candidate="movies-000002",
        stable="movies-000001",
        time=datetime(2026, 9, 1, tzinfo=UTC),
        step=1,
        weight=100,
        verdict=verdict,
        by="ann",
        words=words,
    )


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver on a busy machine is late, and is not asked again for that."""
    monkeypatch.setattr(webhooks, "CALL_S", DEADLINE_S)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as seen:
        yield seen


def place(**more: Any) -> Notification:
    return Notification.model_validate({"name": "ops", "url": "http://x.example/"} | more)


def run(work: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def go() -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            await work(http)

    asyncio.run(go())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - the condition is another program's
            await asyncio.sleep(0.01)


def test_a_message_carries_its_id_and_a_signature_that_its_receiver_can_check(receiver: Receiver) -> None:
    run(lambda http: post(http, Address(field="f", url=receiver.url, key=KEY), place(), news(3)))
    (headers, body), *_ = receiver.came
    assert signed(headers, body, KEY)
    assert not signed(headers, body + b" ", KEY)
    assert headers["Idempotency-Key"] == headers["X-Recsys-Id"] == "uid/movies-000002/3"
    assert News.model_validate_json(body) == news(3)


@pytest.mark.parametrize(("status", "kind"), [(500, UnavailableError), (429, UnavailableError), (404, RefusedError), (301, RefusedError)])
def test_what_the_other_side_says_is_told_without_its_address(receiver: Receiver, status: int, kind: type[Exception]) -> None:
    receiver.answers = [status]
    with pytest.raises(kind, match=rf"^spec\.notifications\[ops\]: it answers {status}") as told:
        run(lambda http: post(http, Address(field="spec.notifications[ops]", url=receiver.url), place(), news(1)))
    assert "secret-path" not in str(told.value)


def test_no_address_is_told_when_nobody_answers() -> None:
    with pytest.raises(UnavailableError, match="no answer") as told:
        run(lambda http: post(http, Address(field="f", url="http://127.0.0.1:1/secret-path"), place(), news(1)))
    assert "secret-path" not in str(told.value)
    assert told.value.__cause__ is None


def test_messages_come_in_order_each_once_whatever_fails_and_nobody_waits(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.answers_of = {"1": 500, "2": 0, "4": 503, "5": 429}
    tries = count(1)

    async def work(http: httpx.AsyncClient) -> None:
        async def send(number: int) -> None:
            own = next(tries)
            # Only the one that hangs is not waited for: another that is late would come twice.
            monkeypatch.setattr(webhooks, "CALL_S", 0.3 if receiver.answers_of.get(str(own)) == 0 else DEADLINE_S)
            await post(http, Address(field="f", url=f"{receiver.url}/{own}"), place(), news(number))

        courier = Courier(first_pause_s=0.01)
        for number in (1, 2, 3, 1, 2):
            courier.offer("uid", "ops", news(number).id, lambda number=number: send(number))
        assert receiver.came == []
        await until(lambda: len(courier.deliveries("uid")["ops"].sent) == 3)
        courier.offer("uid", "ops", news(2).id, lambda: send(2))
        await until(lambda: not courier.lines["uid", "ops"].waiting)
        delivery = courier.deliveries("uid")["ops"]
        assert (delivery.attempts, delivery.message, delivery.given_up) == (0, "", 0)
        await courier.stop()

    run(work)
    assert receiver.ids() == [news(1).id, news(2).id, news(3).id]


def test_a_place_that_hangs_holds_up_no_other(receiver: Receiver) -> None:
    receiver.answers = [0]

    async def work(http: httpx.AsyncClient) -> None:
        courier, to = Courier(first_pause_s=0.01), Address(field="f", url=receiver.url)
        courier.offer("uid", "hangs", news(1).id, lambda: post(http, to, place(), news(1)))
        await until(lambda: not receiver.answers)
        courier.offer("uid", "other", news(2).id, lambda: post(http, to, place(), news(2)))
        await until(lambda: receiver.ids() == [news(2).id])
        assert courier.deliveries("uid")["hangs"].sent == frozenset()
        await courier.stop()

    run(work)


def test_what_cannot_be_delivered_for_too_long_is_given_up_and_the_next_goes_on(receiver: Receiver) -> None:
    receiver.answers = [500] * 3

    async def work(http: httpx.AsyncClient) -> None:
        courier, to = Courier(first_pause_s=0.01, given_up_s=0.0), Address(field="f", url=receiver.url)
        for number in (1, 2, 3, 4):
            courier.offer("uid", "ops", news(number).id, lambda number=number: post(http, to, place(), news(number)))
        await until(lambda: len(courier.deliveries("uid")["ops"].sent) == 4)
        assert courier.deliveries("uid")["ops"].given_up >= 1
        assert "it answers 500" in courier.deliveries("uid")["ops"].message
        await courier.stop()

    run(work)
    assert news(4).id in receiver.ids()


def test_a_bug_in_sending_does_not_end_the_line(receiver: Receiver) -> None:
    async def work(http: httpx.AsyncClient) -> None:
        courier, tried = Courier(first_pause_s=0.01), list[int]()

        async def broken() -> None:
            tried.append(1)
            if len(tried) < 3:
                raise KeyError("a bug")

        courier.offer("uid", "ops", "one", broken)
        await until(lambda: "one" in courier.deliveries("uid")["ops"].sent)
        assert len(tried) == 3
        await courier.stop()
        assert http is not None

    run(work)
    assert receiver.came == []


def test_chats_get_what_they_take_and_nobody_is_called_by_it() -> None:
    told = news(1, words="@everyone look <here> & there")
    assert body_of(place(format="Slack"), told)["text"] == (
        "🟢 films/movies: movies-000002 Promoted, asked by ann: @everyone look &lt;here&gt; &amp; there"
    )
    discord = body_of(place(format="Discord"), told)
    assert discord["allowed_mentions"] == {"parse": []}
    assert len(body_of(place(format="Discord"), news(1, words="x" * 5000))["content"]) == 2000
    (card,) = body_of(place(format="Teams"), told)["attachments"]
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert {"title": "Asked by", "value": "ann"} in card["content"]["body"][1]["facts"]
