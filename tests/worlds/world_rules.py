"""SAFETY of rollouts: what is asserted whenever a verdict is written or a record is sent, from what the world itself has counted."""

from dataclasses import dataclass

from recsys_operator.plan import shares
from recsys_operator.plan.freezing import frozen
from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_record import Arm, ServingRecord, Variant
from recsys_schemas.v1alpha1.rollout import RolloutPhase, RolloutStatus
from worlds.world_jobs import Jobs

WALKING = (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED)


@dataclass
class Rules(Jobs):
    """What must never be, whatever goes wrong."""

    def _check_decided(self, walk: RolloutState, new: RolloutStatus) -> None:
        """A verdict that gives the candidate more users."""
        old = walk.status
        entered = new.phase is RolloutPhase.PROGRESSING and (old.phase is RolloutPhase.LOADING or new.step != old.step)
        promoted = new.phase is RolloutPhase.PROMOTING and old.phase is not RolloutPhase.PROMOTING
        if old.phase in shares.ENDED or not (entered or promoted) or walk.spec.stable is None:
            return
        taken = [new.winner or walk.spec.candidate] if promoted else [pin for pin in walk.spec.tried if pin.name not in walk.left]
        ready = [replica.loaded.get(pin.name) == pin.digest for replica in self.replicas for pin in taken]
        assert ready, "given users while no replica runs"
        assert all(ready), "given users before every replica had it"
        if walk.spec.purpose == "Return":
            return
        control, model = walk.spec.control, self.spec.rollout
        assert not control.abort, "given users though a person said abort"
        assert not any((control.paused, model.paused, self.spec.suspend)), "given users while it was paused"
        assert not frozen(model.freeze_windows, self.now), "given users while it was frozen"
        if old.phase is RolloutPhase.LOADING:
            assert new.step == 0, "a step was skipped"
            return
        assert promoted or new.step == old.step + 1, "a step was skipped"
        assert old.verified, "given users before every replica served the last share"
        asked = control.promote == "Full" or (control.promote == "Next" and control.step == old.step)
        if not asked:
            assert not promoted or old.step + 1 == len(walk.spec.steps), "a step was skipped"
            self._check_earned(walk, taken[0].name)
        if promoted:
            assert taken[0].name not in {arm.name for arm in new.left}, "an arm that was sent back was promoted"

    def _check_earned(self, walk: RolloutState, name: str) -> None:
        """By what the world counted, not by what the plan read."""
        step, analysis = walk.spec.steps[walk.status.step], walk.spec.analysis
        since = walk.status.step_since
        assert since is not None, "left a step that never began"
        waited = (self.now - since).total_seconds()
        if step.pause is not None:
            assert not step.pause.approval, "left without the approval"
            assert step.pause.seconds is not None
            assert waited >= step.pause.seconds, "a pause cut short"
        elif step.shadow is not None:
            assert self.copies.get(name, 0) >= step.shadow.min_requests, "a step without evidence"
            assert waited >= step.shadow.seconds, "a step cut short"
        elif step.interleave is not None:
            wins, losses = self.clicked.get(name, (0, 0))
            assert wins + losses >= step.interleave.min_clicked, "a step without evidence"
            assert wins > losses, "taken though users prefer the other"
        else:
            assert self.impressions_at_share >= analysis.minimum_requests, "a step without evidence"
            assert waited >= analysis.minimum_seconds, "a step cut short"
            if walk.spec.strategy == "ABTest":
                assert self.reward_rate.get(name, 0.3) > self.reward_rate.get(_stable(walk), 0.3), "taken though it is no better"
        assert self.bad_requests.get(name, 0) < 100, "a candidate that was shown to fail was given more users"

    def _check_arms(self, arms: list[Arm]) -> None:
        """Who may be in a record at all, and with what share."""
        assert not arms or sum(arm.share for arm in arms) == 100, "I4: shares sum to 100"
        assert len({arm.version for arm in arms}) == len(arms), "one version twice"
        assert not arms or [arm.variant for arm in arms].count(Variant.STABLE) == 1, "there is one stable arm"
        walks = [walk for walk in self.rollouts.values() if walk.status.phase not in shares.ENDED]
        for arm in arms:
            report = self.preflights.get(arm.version)
            assert report is not None, "I3: an arm that was never tried"
            assert report.passed, "I3: an arm that did not pass its preflight"
            assert arm.digest == self.cards[arm.version].digest, "I3: another digest"
            assert arm.version not in self.worse_offline, "I3: an arm that failed its gates"
            assert report.digest == arm.digest, "I3: an arm whose files are others"
            if arm.variant is Variant.CANDIDATE:
                assert len(walks) == 1, "a candidate without a rollout of its own"
                assert arm.version in [pin.name for pin in walks[0].spec.tried], "a candidate without a rollout of its own"
                self._check_tried(arm, walks[0])
            if arm.variant is Variant.HOLDBACK:
                before = [walk.spec.stable.name for walk in self.rollouts.values() if walk.spec.stable]
                assert arm.version in before, "users are held back on what never served"
                assert arm.share <= self.spec.rollout.holdback, "more users held back than asked"

    def _check_tried(self, arm: Arm, walk: RolloutState) -> None:
        status, steps = walk.status, walk.spec.steps
        seen = arm.share or arm.interleaved
        if status.phase not in WALKING:
            assert not seen, "users on what was sent back, or is not there yet"
            return
        if arm.version in walk.left:
            assert not seen, "users on an arm that was sent back"
            assert arm.ceded, "users of another arm were moved when one left"
            return
        if arm.version != walk.spec.candidate.name:
            weights = {each.name: each.weight for each in walk.spec.arms}
            assert arm.share == weights[arm.version], "I4: a share that is not the arm's"
            return
        allowed = {0, *(step.set_weight for step in steps[: status.step + 1] if step.set_weight is not None)}
        assert arm.share in allowed, "I4: a share that is no step"
        assert arm.share == status.weight, "I4: a share that was not written down"
        verbs = [step for step in steps[: status.step + 1] if step.pause is None]
        assert not arm.interleaved or verbs[-1].interleave, "lists are mixed though no step says so"
        assert not arm.mirrored or verbs[-1].shadow, "copies though no step says so"

    def _check_succession(self, before: ServingRecord, after: ServingRecord) -> None:
        """What may follow a record."""
        if before != after:
            assert after.epoch > before.epoch, "an epoch only grows"
        if not before.arms:
            return
        assert after.arms, "users were left without a version"
        was = {arm.version: arm.share for arm in before.arms}
        for arm in after.arms:
            if arm.variant is Variant.STABLE and was.get(arm.version, 100) < 100:
                returned = any(walk.spec.stable and walk.spec.stable.name == arm.version for walk in self.rollouts.values())
                assert returned or self.bad_when_promoted.get(arm.version, 0) < 100, "a candidate that was shown to fail was promoted"
        if _shape(before) != _shape(after):
            self.impressions_at_share = 0
            self.share_history += [(arm.version, arm.share) for arm in after.arms]


def _shape(record: ServingRecord) -> list[tuple[str, int]]:
    return [(arm.version, arm.share) for arm in record.arms]


def _stable(walk: RolloutState) -> str:
    return walk.spec.stable.name if walk.spec.stable else ""
