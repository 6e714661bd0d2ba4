"""The sticky split holds its promises for any salt, users and shares."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_apps.serving.assignment import assigned, point_of, split_of
from recsys_schemas.serving_record import Arm, Variant

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding
users = st.text(min_size=1, max_size=40)
salts = st.text(max_size=40)
shares = st.integers(0, 100)


def two_arms(share: int) -> list[Arm]:
    return [
        Arm(version="movies-000001", digest="sha256:1", variant=Variant.STABLE, share=100 - share),
        Arm(version="movies-000002", digest="sha256:2", variant=Variant.CANDIDATE, share=share),
    ]


@calm
@given(salts, users, shares)
def test_a_user_stays_where_they_are(salt: str, user: str, share: int):
    assert assigned(split_of(salt, two_arms(share)), user) == assigned(split_of(salt, two_arms(share)), user)


@calm
@given(salts, users, shares, shares)
def test_a_user_on_the_candidate_stays_on_it_while_its_share_grows(salt: str, user: str, one: int, other: int):
    small, large = sorted((one, other))
    if assigned(split_of(salt, two_arms(small)), user) == "movies-000002":
        assert assigned(split_of(salt, two_arms(large)), user) == "movies-000002"


@calm
@given(salts, users, st.permutations([0, 1, 2, 3]))
def test_the_order_of_the_arms_does_not_matter(salt: str, user: str, order: list[int]):
    arms = [
        *two_arms(25)[1:],
        Arm(version="movies-000001", digest="sha256:1", variant=Variant.STABLE, share=60),
        Arm(version="movies-000003", digest="sha256:3", variant=Variant.CANDIDATE, share=15),
        Arm(version="movies-000004", digest="sha256:4", variant=Variant.CANDIDATE, share=0),
    ]
    assert assigned(split_of(salt, [arms[place] for place in order]), user) == assigned(split_of(salt, arms), user)


@calm
@given(salts, users, st.integers(1, 4), st.data())
def test_who_is_on_an_arm_that_leaves_gets_the_stable_version_and_all_others_stay(salt: str, user: str, others: int, data: st.DataObject):
    share = 100 // (others + 2)
    arms = [Arm(version=f"m-{n}", digest="sha256:1", variant=Variant.CANDIDATE, share=share) for n in range(others + 1)]
    stable = Arm(version="m-9", digest="sha256:9", variant=Variant.STABLE, share=100 - share * (others + 1))
    gone = data.draw(st.integers(0, others))
    left = [arm.model_copy(update={"share": 0, "ceded": share}) if n == gone else arm for n, arm in enumerate(arms)]
    before = assigned(split_of(salt, [stable, *arms]), user)
    after = assigned(split_of(salt, [stable.model_copy(update={"share": stable.share + share}), *left]), user)
    assert after == ("m-9" if before == f"m-{gone}" else before)


@calm
@given(salts, shares)
def test_shares_of_many_users_are_as_asked(salt: str, share: int):
    split = split_of(salt, two_arms(share))
    count = 2000
    seen = sum(assigned(split, f"user-{place}") == "movies-000002" for place in range(count))
    # Six standard deviations of a fair split: a right split fails once in 500 million salts.
    assert abs(seen / count - share / 100) <= 6 * (share / 100 * (1 - share / 100) / count) ** 0.5


@calm
@given(salts, users)
def test_nobody_is_on_an_arm_without_a_share_and_all_are_on_one_with_all(salt: str, user: str):
    assert assigned(split_of(salt, two_arms(0)), user) == "movies-000001"
    assert assigned(split_of(salt, two_arms(100)), user) == "movies-000002"


@calm
@given(users)
def test_another_salt_deals_the_users_anew(user: str):
    points = {point_of(split_of(f"salt-{place}", two_arms(50)).key, user) for place in range(8)}
    assert len(points) == 8
