"""The replicas of the simulated world and their users. SAFETY is asserted at every record that is sent."""

from dataclasses import dataclass
from datetime import timedelta
from operator import add

from ray_apps.serving.switching import Switches
from recsys_operator.state.actions import (
    DeployApp,
)
from recsys_operator.state.observed import (
    AppState,
    RayState,
    Unavailable,
)
from recsys_schemas.serving_evidence import (
    FOLDS,
    GROUPS,
    ArmCounters,
    EvidenceResponse,
    MixedCounters,
    ReplicaReport,
    ShadowCounters,
    StratumCounters,
    SwitchAsk,
    latency_bin,
    stratum_of,
)
from recsys_schemas.serving_record import Arm, Variant
from worlds.world_ground import Replica
from worlds.world_rules import Rules

SOON = latency_bin(5.0)
"""Where answers are timed, each takes so long."""


@dataclass
class Serving(Rules):
    """The application, its replicas, and whoever asks them."""

    def _ray(self) -> RayState | Unavailable:
        if "ray" in self.unreachable:
            return Unavailable(message="the dashboard does not answer")
        apps = {}
        if self.app is not None:
            ids = tuple(replica.id for replica in self.replicas)
            apps[self.app.name] = AppState(
                name=self.app.name,
                route_prefix=self.app.route_prefix,
                word="RUNNING" if ids else "DEPLOY_FAILED" if self._has_given_up() else "DEPLOYING",
                message=self.given_up if self._has_given_up() else "",
                replicas_wanted=self.app.replicas,
                running_replicas=ids,
                arguments=self.app.arguments,
                record=self.app.record,
            )
        return RayState(jobs=dict(self.jobs), apps=apps, serving_url="http://ray:8000")

    def _evidence(self) -> EvidenceResponse | Unavailable | None:
        if self.unreachable & {"ray", "evidence"}:
            return Unavailable(message="no evidence")
        if self.app is None:
            return None
        return EvidenceResponse(replicas=[self._report(replica) for replica in self.replicas])

    def _report(self, replica: Replica) -> ReplicaReport:
        arms = self.app.record.arms if self.app else []
        return ReplicaReport(
            replica_id=replica.id,
            epoch=replica.record.epoch if replica.record else 0,
            age_seconds=0.5,
            ready=dict(replica.loaded),
            refused={arm.version: "digest differs" for arm in arms if arm.version in self.refuses_to_load},
            counters=dict(replica.counters),
            online=dict(replica.online),
            shadow=dict(replica.shadow),
            mixed=dict(replica.mixed),
            switch=self._asked(replica),
        )

    def _asked(self, replica: Replica) -> SwitchAsk | None:
        if replica.asked is None:
            return None
        at, asked = replica.asked
        return asked.model_copy(update={"age_seconds": max(0.0, (self.now - at).total_seconds() - 0.5)})

    def ask_for(self, version: str, by: str = "key:anna") -> bool:
        """Somebody asks a replica, drawn by lot, to switch; whether it says yes."""
        replica = self.chance.choice(self.replicas)
        arms: list[Arm] = replica.record.arms if replica.record else []
        kept = [arm.version for arm in arms if arm.variant is Variant.HOLDBACK and replica.loaded.get(arm.version) == arm.digest]
        stable = next((arm.version for arm in arms if arm.variant is Variant.STABLE), None)
        if replica.record is None or stable is None or version not in (*kept, stable):
            return False
        asked = Switches().ask(version, stable, replica.record.epoch, by, "")
        replica.asked = (self.now, asked)
        return True

    def _check_verified(self) -> None:
        epochs = [replica.record.epoch if replica.record else -1 for replica in self.replicas]
        assert not epochs or self.app is None or min(epochs) >= self.app.record.epoch, "counted as changed before every replica said so"

    def _deploy(self, action: DeployApp) -> None:
        self._check_arms(action.record.arms)
        if self.app is not None:
            self._check_succession(self.app.record, action.record)
        if self.app == action:
            return  # Ray Serve does nothing then: it does not even try again what it gave up
        # A replica that runs takes another record as it is; only one that starts can fail to.
        self.app, self.given_up = action, "" if self.replicas else self.fails_serving
        self.sent_app_at.append(self.now)
        while not self.given_up and len(self.replicas) < action.replicas:
            self.replicas.append(Replica(id=f"replica-{self.chance.getrandbits(32):08x}"))

    def _has_given_up(self) -> bool:
        return bool(self.given_up) and self.now >= self.sent_app_at[-1] + timedelta(seconds=3)

    def _load(self) -> None:
        """Replicas load what is asked for, each in its own time, and take over a record once they have all that users would see of it."""
        for replica in self.replicas:
            if self.app is None:
                return
            arms = self.app.record.arms
            for arm in arms:
                if arm.version not in self.refuses_to_load and self.chance.random() < 0.9:
                    replica.loaded[arm.version] = arm.digest
            replica.loaded = {arm.version: arm.digest for arm in arms if replica.loaded.get(arm.version) == arm.digest}
            there = all(arm.version in replica.loaded for arm in arms if arm.share or arm.mirrored or arm.interleaved)
            if there and (replica.record is None or self.chance.random() < 0.8):
                replica.record = self.app.record

    def _traffic(self, seconds: float) -> None:
        for replica in self.replicas:
            arms = replica.record.arms if replica.record else []
            asked = round(self.requests_per_second * seconds / len(self.replicas))
            split = self.draws.multinomial(asked, [arm.share / 100 for arm in arms]) if arms else []
            for arm, count in zip(arms, map(int, split), strict=True):
                self._count(replica, arm.version, self._answers(arm.version, count))
                # One that errs beside an arm that errs as much is not shown to be worse.
                others = [self.error_rate.get(other.version, 0.0) for other in arms if other.version != arm.version]
                if self.error_rate.get(arm.version, 0.0) > 0.2 + max(others, default=0.0):
                    self.bad_requests[arm.version] = self.bad_requests.get(arm.version, 0) + count
                if arm.variant == "candidate" and self.app and arms == self.app.record.arms:
                    self.impressions_at_share += count
                if arm.mirrored:
                    self._mirror(replica, arm.version, asked * arm.mirrored // 100)
                if arm.interleaved:
                    self._mix(replica, arm.version, arms[0].version, asked * arm.interleaved // 100)

    def _answers(self, version: str, count: int) -> tuple[int, int, int, int]:
        errors = int(self.draws.binomial(count, self.error_rate.get(version, 0.0)))
        rewards = int(self.draws.binomial(count - errors, self.reward_rate.get(version, 0.3)))
        return count, errors, count - errors, rewards

    def _mirror(self, replica: Replica, version: str, count: int) -> None:
        """Copies of questions, answered by what nobody sees."""
        errors = int(self.draws.binomial(count, self.error_rate.get(version, 0.0)))
        old = replica.shadow.get(version, ShadowCounters(requests=[0] * GROUPS, errors=[0] * GROUPS))
        scored = count - errors
        replica.shadow[version] = ShadowCounters(
            requests=_spread(old.requests, count, self.chance.randrange(GROUPS)),
            errors=_spread(old.errors, errors, self.chance.randrange(GROUPS)),
            overlap_sum=old.overlap_sum + scored * self.likeness.get(version, 0.6),
            correlation_sum=old.correlation_sum + scored * 0.5,
            correlated=old.correlated + scored,
            worth_sum=old.worth_sum + scored * self.reward_rate.get(version, 0.3),
            given_worth_sum=old.given_worth_sum + scored * 0.3,
        )
        self.copies[version] = self.copies.get(version, 0) + count

    def _mix(self, replica: Replica, version: str, stable: str, count: int) -> None:
        """Mixed lists: a third is clicked, and the candidate wins as often as its reward rate says."""
        for arm in (version, stable):
            answers, errors, _, _ = self._answers(arm, count)
            self._count(replica, arm, (answers, errors, 0, 0))
        liked, other = self.reward_rate.get(version, 0.3), self.reward_rate.get(stable, 0.3)
        decided = int(self.draws.binomial(count, 0.3))
        wins = int(self.draws.binomial(decided, liked / (liked + other)))
        none = [0] * GROUPS
        old = replica.mixed.get(version, MixedCounters(against=stable, answers=none, wins=none, losses=none, ties=none))
        first = self.chance.randrange(GROUPS)
        replica.mixed[version] = MixedCounters(
            against=stable,
            answers=_spread(old.answers, count, first),
            wins=_spread(old.wins, wins, first),
            losses=_spread(old.losses, decided - wins, first),
            ties=old.ties,
        )
        before = self.clicked.get(version, (0, 0))
        self.clicked[version] = (before[0] + wins, before[1] + decided - wins)

    def _count(self, replica: Replica, version: str, counts: tuple[int, int, int, int]) -> None:
        """Add requests, errors, impressions and rewards of users drawn at random."""
        assert replica.record is not None
        stratum = stratum_of({arm.version: arm.share for arm in replica.record.arms})
        old = replica.counters.get(version, ArmCounters())
        none = [0] * GROUPS
        there = old.strata.get(stratum) or StratumCounters(requests=none, errors=none, impressions=none, rewards=none)
        before = (there.requests, there.errors, there.impressions, there.rewards)
        first = self.chance.randrange(GROUPS)
        requests, errors, impressions, rewards = (_spread(numbers, count, first) for numbers, count in zip(before, counts, strict=True))
        grown: dict[str, object] = {"requests": requests, "errors": errors, "impressions": impressions, "rewards": rewards}
        given, liked = old.impressions + counts[2], old.rewards + counts[3]
        if self.timed:
            soon = there.latency.get(SOON, [0] * FOLDS)
            grown["latency"] = {SOON: _spread(soon, counts[0], first % FOLDS)}
        strata = {**old.strata, stratum: there.model_copy(update=grown)}
        replica.counters[version] = old.model_copy(update={"impressions": given, "rewards": liked, "strata": strata})

    def restart_ray(self) -> None:
        """The head is replaced: jobs, applications and counters are gone."""
        self.jobs, self.app, self.replicas = {}, None, []
        self.bad_requests.clear()

    def restart_replica(self) -> None:
        """One replica is replaced; what it counted stays on the board in reality, and is lost here: the harder case."""
        if self.replicas:
            self.replicas[0] = Replica(id=f"replica-{self.chance.getrandbits(32):08x}")
            self.bad_requests.clear()


def _spread(numbers: list[int], count: int, first: int) -> list[int]:
    """So many more, over the groups from the first on."""
    groups = len(numbers)
    each, left = divmod(count, groups)
    more = [each + 1] * left + [each] * (groups - left)
    return list(map(add, numbers, more[groups - first :] + more[: groups - first]))
