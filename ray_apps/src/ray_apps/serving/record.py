"""The serving record as a replica takes it: validated whole, or refused whole."""

from pydantic import JsonValue, ValidationError

from recsys_schemas.serving_record import Arm, ServingRecord, Variant


class RecordRefused(Exception):  # noqa: N818 - it says what was done about the error
    """The record cannot be served; the message names the field, the value and the mend."""


def parse(value: JsonValue) -> ServingRecord:
    """Read a record from `user_config`.

    Raises:
        RecordRefused: it does not fit the schema, or its arms contradict each other.
    """
    try:
        record = ServingRecord.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "user_config"
        raise RecordRefused(f"{field}: {first['msg']} (saw {first['input']!r}); write a ServingRecord") from None
    check_arms(record.arms)
    return record


def check_arms(arms: list[Arm]) -> None:
    """Hold the rules that a schema cannot.

    Raises:
        RecordRefused: versions repeat, there is not exactly one stable arm, or shares do not sum to 100.
    """
    if not arms:
        return
    versions = [arm.version for arm in arms]
    if len(set(versions)) != len(versions):
        raise RecordRefused(f"arms: versions {versions} repeat; name each version once")
    stable = [arm.version for arm in arms if arm.variant is Variant.STABLE]
    if len(stable) != 1:
        raise RecordRefused(f"arms: stable arms are {stable}; name exactly one")
    total = sum(arm.share for arm in arms)
    if total != 100:
        raise RecordRefused(f"arms: shares sum to {total}; make them sum to 100")
    tried = [arm.version for arm in arms if arm.mirrored or arm.interleaved]
    if len(tried) > 1 or any(arm.variant is not Variant.CANDIDATE for arm in arms if arm.mirrored or arm.interleaved):
        raise RecordRefused(f"arms: mirrored or interleaved are {tried}; only one candidate may be")
    mixed, kept = sum(arm.interleaved for arm in arms), sum(arm.share for arm in arms if arm.variant is not Variant.STABLE)
    if mixed and mixed + kept > 100:
        raise RecordRefused(f"arms: {mixed} % of the users get mixed lists and {kept} % another arm; mix the stable arm's users only")
    left, own = [arm for arm in arms if arm.ceded], next(arm.share for arm in arms if arm.variant is Variant.STABLE)
    if any(arm.share or arm.variant is not Variant.CANDIDATE for arm in left) or sum(arm.ceded for arm in left) > own:
        seen = ", ".join(f"{arm.version} {arm.ceded} (share {arm.share}, {arm.variant})" for arm in left)
        raise RecordRefused(f"arms: ceded are {seen}; only a candidate without a share cedes, and the stable arm's {own} has them all")


def check_succession(old: ServingRecord | None, new: ServingRecord) -> None:
    """Hold that the epoch only grows, so that a late write never undoes a newer one.

    Tokens may change within an epoch: they say who may ask, not what is answered. So may skips, which replicas take in their own time.

    Raises:
        RecordRefused: the epoch went back, or stayed while arms or salt changed.
    """
    if old is None or new.epoch > old.epoch:
        return
    if new.epoch < old.epoch:
        raise RecordRefused(f"epoch: {new.epoch} after {old.epoch}; write a larger one")
    if (new.salt, new.arms) != (old.salt, old.arms):
        raise RecordRefused(f"epoch: {new.epoch} again, but arms or salt differ; write a larger one")
