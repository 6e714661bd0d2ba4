"""One model that is changed again and again, and what must hold of it after each change and when all is undone."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chaos.resource_mutations import Json, Mutation
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import ConflictError, Kube
from recsys_operator.world.objects import MODELS, folder, place

WALK = 12
"""Changes of a walk before it is undone."""
MADE = "a new model"
ANSWER_S = 120.0
"""A deadline, not a figure: how long answers take is reported."""
STILL_S = 5.0
"""A status that has stood for so long has come to rest,"""
REST_S = 240.0
"""and comes to rest within so long."""
ONE_WAY = ("cannot be lowered", "cannot be changed", "cannot be removed", "cannot be added", "storageURI")
"""Words of the rules under which a change cannot be taken back."""
T = TypeVar("T")
_VOLATILE = ("observedGeneration", "lastTransitionTime")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What the API server answers; asked again where the machine stood still and it was late."""
    began = time.monotonic()
    while True:
        try:
            return await call()
        except UnavailableError:
            if time.monotonic() > began + REST_S:
                raise
            await asyncio.sleep(0.2)


class FuzzFailedError(AssertionError):
    """Something that must hold did not."""


@dataclass(slots=True)
class Tally:
    """What was tried, and how it ended."""

    refused: int = 0
    answered: int = 0
    unchanged: int = 0
    undone: int = 0
    made_again: int = 0
    fields: set[tuple[Any, ...]] = field(default_factory=set[tuple[Any, ...]])
    waits: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """Seconds until the status answered a change, and which."""
    first_waits: list[float] = field(default_factory=list[float])
    """Seconds until a new model had its first answer: as many are made at once as there are walkers."""
    reasons: Counter[str] = field(default_factory=Counter[str])

    @property
    def transitions(self) -> int:
        return self.refused + self.answered + self.unchanged + self.undone + self.made_again


@dataclass(slots=True, kw_only=True)
class Fuzz:
    """One model that is changed, and what its spec was at the start."""

    kube: Kube
    namespace: str
    name: str
    base: Json
    tally: Tally
    rest: Json = field(default_factory=dict[str, Any])

    @property
    def path(self) -> str:
        return place(MODELS, self.namespace, self.name)

    async def make(self) -> None:
        body = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "metadata": {"name": self.name}, "spec": self.base}

        async def create() -> None:
            with suppress(ConflictError):  # it was made, and the answer was late
                await self.kube.create(folder(MODELS, self.namespace), body)

        await patiently(create)
        self.rest = await self.at_rest()

    async def make_again(self) -> None:
        """Another model of the name, from the base."""
        began, rest = time.monotonic(), self.rest
        await patiently(lambda: self.kube.delete(self.path))
        while await patiently(lambda: self.kube.get(self.path)) is not None:
            if time.monotonic() > began + REST_S:
                raise FuzzFailedError(f"{self.name}: deleted, and there after {REST_S:.0f} s")
            await asyncio.sleep(0.2)
        await self.make()
        if self.rest != rest:
            raise FuzzFailedError(f"{self.name}: made again, and {differing(rest, self.rest)} differs")
        self.tally.made_again += 1

    async def read(self) -> Json:
        body = await patiently(lambda: self.kube.get(self.path))
        if body is None:
            raise FuzzFailedError(f"{self.name}: gone")
        return body

    async def put(self, spec: Json) -> Json:
        """Replace the spec, whatever the operator writes meanwhile."""
        while True:
            body = await self.read()
            with suppress(ConflictError, UnavailableError):
                return await self.kube.replace(self.path, body | {"spec": spec})

    async def try_one(self, mutation: Mutation) -> bool:
        """Write one mutation; whether the API server took it."""
        before = await self.read()
        self.tally.fields.add(tuple(0 if isinstance(step, int) else step for step in mutation.path))
        try:
            after = await self.put(mutation.of(before["spec"]))
        except RefusedError as error:
            return self._refused(mutation, before, await self.read(), str(error))
        if after["metadata"]["generation"] == before["metadata"]["generation"]:
            self.tally.unchanged += 1
            return True
        await self.answered(after["metadata"]["generation"], str(mutation))
        self.tally.answered += 1
        return True

    def _refused(self, mutation: Mutation, before: Json, after: Json, words: str) -> bool:
        if after["spec"] != before["spec"]:
            raise FuzzFailedError(f"{mutation}: refused, and the spec has changed")
        first = str(mutation.path[0])
        # One that is too large is refused before it is read: there is no field to name.
        if f"spec.{first}" not in words and "413" not in words and "spec: " not in words and f'"spec.{first}' not in words:
            raise FuzzFailedError(f"{mutation}: refused without the path of the field: {words[:500]}")
        self.tally.refused += 1
        return False

    async def answered(self, generation: int, what: str) -> Json:
        """Wait until the operator says in the status what it makes of a generation."""
        began = time.monotonic()
        while time.monotonic() < began + ANSWER_S:
            body = await self.read()
            conditions: list[Json] = body.get("status", {}).get("conditions", [])
            broken = [each["message"] for each in conditions if each["reason"] == "InternalError"]
            if broken:
                raise FuzzFailedError(f"{what}: {broken[0]}")
            if conditions and min(each["observedGeneration"] for each in conditions if each["type"] in ("Ready", "Stalled")) >= generation:
                waited = time.monotonic() - began
                if what == MADE:
                    self.tally.first_waits.append(waited)
                else:
                    self.tally.waits.append((waited, what))
                return body
            await asyncio.sleep(0.1)
        raise FuzzFailedError(f"{what}: not in the status of {self.name} after {ANSWER_S:.0f} s")

    async def at_rest(self) -> Json:
        """What the status says once it has stopped changing, without times and generations."""
        body = await self.read()
        await self.answered(body["metadata"]["generation"], MADE)
        now: Json = {}
        since = began = time.monotonic()
        while time.monotonic() < began + REST_S:
            seen = told(await self.read(), self.name)
            if seen != now:
                now, since = seen, time.monotonic()
            elif time.monotonic() > since + STILL_S and now["Serving"]["reason"] != "NoTokens":
                return now
            await asyncio.sleep(0.5)
        raise FuzzFailedError(f"{self.name}: its status does not come to rest: {now}")

    async def undo(self, mutated: Sequence[Mutation]) -> None:
        """Write the base again: all is said as it was. Where there is no way back, the refusal says so, and the model is made again."""
        try:
            body = await self.put(self.base)
        except RefusedError as error:
            if not any(words in str(error) for words in ONE_WAY):
                raise FuzzFailedError(f"{self.name}: its base is refused: {error}") from error
            return await self.make_again()
        await self.answered(body["metadata"]["generation"], "the base again")
        deadline = time.monotonic() + REST_S
        now: Json = {}
        while time.monotonic() < deadline:
            now = told(await self.read(), self.name)
            if now == self.rest:
                self.tally.undone += 1
                return None
            await asyncio.sleep(0.2)
        steps = "; ".join(map(str, mutated))
        words = f"undone, and the status differs from the start in {differing(self.rest, now)}; it had been changed by {steps}"
        raise FuzzFailedError(f"{self.name}: {words}")


def differing(before: Json, after: Json) -> Json:
    """What two statuses say otherwise."""
    return {key: (before.get(key), after.get(key)) for key in {*before, *after} if before.get(key) != after.get(key)}


def told(body: Json, name: str) -> Json:
    """What a status says of a model, whatever it is called and whenever."""
    status: Json = body.get("status", {})
    conditions = {each["type"]: {key: each[key] for key in each if key not in _VOLATILE} for each in status.get("conditions", [])}
    text = json.dumps({"phase": status.get("phase"), **conditions}, sort_keys=True)
    return json.loads(text.replace(name, "NAME").replace(body["metadata"]["uid"], "UID").replace(body["metadata"]["uid"][:8], "UID8"))


async def walk(fuzz: Fuzz, todo: list[Mutation], chance: random.Random) -> None:
    """Change one model until nothing is left to try: singles that are undone by the next one, and walks that pile up."""
    await fuzz.make()
    piled: list[Mutation] = []
    while todo:
        mutation = todo.pop()
        taken = await fuzz.try_one(mutation)
        if taken:
            piled.append(mutation)
        if len(piled) >= chance.randint(1, WALK):
            await fuzz.undo(piled)
            piled = []
    await fuzz.undo(piled)
    await compare_with_fresh(fuzz)


async def compare_with_fresh(fuzz: Fuzz) -> None:
    """A model that has seen all this, and one that has seen nothing: the same is said of both."""
    fresh = Fuzz(kube=fuzz.kube, namespace=fuzz.namespace, name=f"{fuzz.name}-fresh", base=fuzz.base, tally=fuzz.tally)
    await fresh.make()
    if fresh.rest != fuzz.rest:
        raise FuzzFailedError(f"{fuzz.name}: {fuzz.rest} is said of it, and {fresh.rest} of a fresh model of its spec")
