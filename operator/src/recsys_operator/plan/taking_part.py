"""Taking part: the versions that a test has beside its candidate, and why it cannot begin with them yet."""

from dataclasses import dataclass

from recsys_operator.plan import quarantine, shares
from recsys_operator.state.observed import Observed, Unavailable, VersionState
from recsys_schemas.v1alpha1.arms import BesideArm
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.version import VersionPhase

_TO_COME = frozenset({VersionPhase.PENDING, VersionPhase.TRAINING, VersionPhase.PREFLIGHT})
_NOT_GOOD = frozenset({VersionPhase.REJECTED, VersionPhase.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """An arm that a test cannot begin with."""

    words: str
    awaited: bool = False
    """Whether it may come by itself; else a person must name another."""
    trained: bool = False
    """Whether it comes by training: that goes on, though a candidate waits."""


def named(observed: Observed, candidate: str) -> list[str]:
    """Versions that are to take part; what serves and the candidate do anyway."""
    asked, champion = observed.model.spec.rollout, shares.champion(observed)
    if asked.strategy != "ABTest" or champion is None:
        return []
    return [arm.version for arm in asked.arms if arm.version not in (champion.name, candidate)]


def lacking(observed: Observed) -> Lacking | None:
    """The first arm that the waiting version's test cannot begin with, with the mend; None when it can."""
    version = shares.waiting(observed)
    found = [_lacks(observed, name) for name in named(observed, version.name)] if version else []
    there = [each for each in found if each is not None]
    return next((each for each in there if not each.awaited), there[0] if there else None)


def _lacks(observed: Observed, name: str) -> Lacking | None:
    version = next((each for each in observed.versions if each.name == name), None)
    arm, mend = f"spec.rollout.arms: {name}", "name another version, or remove it"
    if version is None:
        newest = max((each.name for each in observed.versions), default="")
        if name.rpartition("-")[0] == observed.model.key.name and name > newest:
            return Lacking(words=f"{arm} is not made yet: the test waits for it; {mend} to begin without it", awaited=True, trained=True)
        kept = observed.model.spec.revision_history_limit
        return Lacking(words=f"{arm} has no object any more (spec.revisionHistoryLimit {kept}), or never had; {mend}")
    made = version.status.artifact
    if version.status.phase in _TO_COME:
        return Lacking(words=f"{arm} is {version.status.phase}: the test waits for it; {mend} to begin without it", awaited=True)
    if version.status.phase in _NOT_GOOD or made is None:
        return Lacking(words=f"{arm} is {version.status.phase} ({version.status.message}); {mend}")
    failed, held = quarantine.of(observed, made.digest), shares.held_back(observed)
    if failed is not None:
        return Lacking(words=f"{arm} has the digest of {failed.version}, which was sent back: it is not tried again; {mend}")
    if held is not None and held[0].name == name:
        return Lacking(
            words=f"{arm} keeps {held[1]} % of the users by spec.rollout.holdback, and is compared already; {mend}, or set holdback 0"
        )
    return _of_files(observed, version, made.digest, arm, mend)


def _of_files(observed: Observed, version: VersionState, digest: str, arm: str, mend: str) -> Lacking | None:
    if isinstance(observed.manifest, Unavailable):
        return Lacking(words=f"{arm}: its files cannot be looked for while the store cannot be read", awaited=True)
    if version.card is None:
        return Lacking(words=f"{arm}: its card is gone from {version.spec.storage_uri}; bring its files back from a backup, or {mend}")
    if version.card.digest != digest:
        return Lacking(words=f"{arm}: its card says {version.card.digest}, recorded is {digest}: it was exchanged; {mend}")
    return None


def beside(observed: Observed, candidate: str, walk: list[Step]) -> list[BesideArm]:
    """The arms of a test that begins now, pinned."""
    made = {each.name: each.status.artifact.digest for each in observed.versions if each.status.artifact}
    weights = {arm.version: arm.weight for arm in observed.model.spec.rollout.arms}
    own = walk[-1].set_weight or 1
    return [BesideArm(name=name, digest=made[name], weight=weights[name] or own) for name in named(observed, candidate) if name in made]
