"""The replicas of the simulated world and their users. SAFETY is asserted at every record that is sent."""

from dataclasses import dataclass
from datetime import timedelta

from recsys_operator.state.actions import (
    DeployApp,
)
from recsys_operator.state.observed import (
    AppState,
    RayState,
    Unavailable,
)
from recsys_schemas.serving_api import (
    GROUPS,
    ArmCounters,
    EvidenceResponse,
    ReplicaReport,
    ServingRecord,
    StratumCounters,
    stratum_of,
)
from worlds.world_ground import Replica
from worlds.world_jobs import Jobs


@dataclass
class Serving(Jobs):
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
            ready={arm.version: arm.digest for arm in arms if arm.version not in self.refuses_to_load},
            refused={arm.version: "digest differs" for arm in arms if arm.version in self.refuses_to_load},
            counters=dict(replica.counters),
            online=dict(replica.online),
        )

    def _check_verified(self) -> None:
        epochs = [replica.record.epoch if replica.record else -1 for replica in self.replicas]
        assert not epochs or self.app is None or min(epochs) >= self.app.record.epoch, "counted as changed before every replica said so"

    def _deploy(self, action: DeployApp) -> None:
        arms = action.record.arms
        assert not arms or sum(arm.share for arm in arms) == 100, "I4: shares sum to 100"
        assert len({arm.version for arm in arms}) == len(arms), "one version twice"
        for arm in arms:
            report = self.preflights.get(arm.version)
            assert report is not None, "I3: an arm that was never tried"
            assert report.passed, "I3: an arm that did not pass its preflight"
            assert arm.digest == self.cards[arm.version].digest, "I3: another digest"
            assert arm.version not in self.worse_offline, "I3: an arm that failed its gates"
            assert report.digest == arm.digest, "I3: an arm whose files are others"
        before = self.app.record if self.app else None
        if before is not None and before != action.record:
            assert action.record.epoch > before.epoch, "an epoch only grows"
        if before is not None and before.arms:
            assert arms, "users were left without a version"
            self._check_shares(before, action.record)
        if self.app == action:
            return  # Ray Serve does nothing then: it does not even try again what it gave up
        # A replica that runs takes another record as it is; only one that starts can fail to.
        self.app, self.given_up = action, "" if self.replicas else self.fails_serving
        self.sent_app_at.append(self.now)
        while not self.given_up and len(self.replicas) < action.replicas:
            self.replicas.append(Replica(id=f"replica-{self.chance.getrandbits(32):08x}"))

    def _has_given_up(self) -> bool:
        return bool(self.given_up) and self.now >= self.sent_app_at[-1] + timedelta(seconds=3)

    def _check_shares(self, before: ServingRecord, after: ServingRecord) -> None:
        was = {arm.version: arm.share for arm in before.arms}
        weights = [0, *(s.set_weight for s in self.spec.rollout.walk() if s.set_weight is not None), 100]
        for arm in after.arms:
            if arm.variant == "stable" and was.get(arm.version, 100) < 100:
                returned = any(walk.spec.stable and walk.spec.stable.name == arm.version for walk in self.rollouts.values())
                assert returned or self.bad_when_promoted.get(arm.version, 0) < 100, "a candidate that was shown to fail was promoted"
            if arm.share > was.get(arm.version, 0) and arm.variant == "candidate":
                assert arm.share in weights, "I4: a share that is no step"
                old = was.get(arm.version, 0)
                assert weights.index(arm.share) == weights.index(old) + 1, "I4: a step was skipped"
                if old:
                    assert self.impressions_at_share >= self.spec.rollout.analysis.minimum_requests, "a step without evidence"
        if [(a.version, a.share) for a in after.arms] != [(a.version, a.share) for a in before.arms]:
            self.impressions_at_share = 0
            self.share_history += [(arm.version, arm.share) for arm in after.arms]

    def _traffic(self, seconds: float) -> None:
        for replica in self.replicas:
            arms = replica.record.arms if replica.record else []
            for arm in arms:
                count = int(self.requests_per_second * seconds * arm.share / 100 / len(self.replicas))
                errors = int(self.draws.binomial(count, self.error_rate.get(arm.version, 0.0)))
                rewards = int(self.draws.binomial(count - errors, self.reward_rate.get(arm.version, 0.3)))
                self._count(replica, arm.version, (count, errors, count - errors, rewards))
                # One that errs beside an arm that errs as much is not shown to be worse.
                others = [self.error_rate.get(other.version, 0.0) for other in arms if other.version != arm.version]
                if self.error_rate.get(arm.version, 0.0) > 0.2 + max(others, default=0.0):
                    self.bad_requests[arm.version] = self.bad_requests.get(arm.version, 0) + count
                if arm.variant == "candidate" and self.app and arms == self.app.record.arms:
                    self.impressions_at_share += count

    def _count(self, replica: Replica, version: str, counts: tuple[int, int, int, int]) -> None:
        """Add requests, errors, impressions and rewards of users drawn at random."""
        assert replica.record is not None
        stratum = stratum_of({arm.version: arm.share for arm in replica.record.arms})
        old = replica.counters.get(version, ArmCounters())
        there = old.strata.get(stratum) or StratumCounters(requests=[], errors=[], impressions=[], rewards=[])
        before = (there.requests, there.errors, there.impressions, there.rewards)
        groups = [list(numbers) or [0] * GROUPS for numbers in before]
        first = self.chance.randrange(GROUPS)
        for numbers, count in zip(groups, counts, strict=True):
            each, left = divmod(count, GROUPS)
            for user in range(GROUPS):
                numbers[(first + user) % GROUPS] += each + (user < left)
        requests, errors, impressions, rewards = groups
        grown = StratumCounters(requests=requests, errors=errors, impressions=impressions, rewards=rewards)
        given, liked = old.impressions + counts[2], old.rewards + counts[3]
        replica.counters[version] = ArmCounters(impressions=given, rewards=liked, strata={**old.strata, stratum: grown})

    def restart_ray(self) -> None:
        """The head is replaced: jobs, applications and counters are gone."""
        self.jobs, self.app, self.replicas = {}, None, []
        self.bad_requests.clear()

    def restart_replica(self) -> None:
        """One replica is replaced; what it counted stays on the board in reality, and is lost here: the harder case."""
        if self.replicas:
            self.replicas[0] = Replica(id=f"replica-{self.chance.getrandbits(32):08x}")
            self.bad_requests.clear()
