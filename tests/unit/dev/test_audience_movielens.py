"""Real events from MovieLens' layout, and what is said of a folder that is not in it."""

from itertools import pairwise
from pathlib import Path

import pytest

from recsys_dev.errors import Unmet
from recsys_dev.movielens import HELD_BACK, RecordedAudience, read_ratings

HEADER = "userId,movieId,rating,timestamp\n"


def folder_with(path: Path, name: str, text: str) -> Path:
    path.joinpath(name).write_text(text)
    return path


def ratings(users: int = 3, each: int = 10) -> str:
    return HEADER + "".join(f"{u},{m},{1 + m % 5},{1000 + 7 * m + u}\n" for u in range(1, users + 1) for m in range(each))


def test_history_is_in_time_order_and_two_events_a_rating(tmp_path: Path):
    audience = RecordedAudience(folder_with(tmp_path, "ratings.csv", ratings()))
    events = list(audience.history())
    assert all(a.timestamp <= b.timestamp for a, b in pairwise(events))
    assert len(events) == 2 * 3 * (10 - int(10 * HELD_BACK))
    assert events[0].timestamp == 1001 * 1000


def test_each_users_last_ratings_are_held_back_and_then_told_once(tmp_path: Path):
    audience = RecordedAudience(folder_with(tmp_path, "ratings.csv", ratings()))
    live = audience.live(1000, 0)
    assert {e.item_id for e in live} == {"7", "8", "9"}
    assert len(live) == 2 * 3 * 3
    assert audience.live(1000, 0) == []


def test_a_user_watches_what_they_are_known_to_have_watched_later_once_each(tmp_path: Path):
    audience = RecordedAudience(folder_with(tmp_path, "ratings.csv", ratings()))
    assert audience.reaction("1", ["0", "1", "2"]) is None
    watched = [item for _ in range(200) if (item := audience.reaction("1", ["0", "9", "8", "7"])) is not None]
    assert sorted(watched) == ["7", "8", "9"]
    assert audience.watched_at("1", "9", 5) == (1000 + 7 * 3 + 1) * 1000


def test_a_user_watches_what_people_like_them_have_watched_rather_than_what_nobody_has(tmp_path: Path):
    alike = "".join(f"{u},{m},4,{1000 + m}\n" for u in range(2, 12) for m in [*range(10), 50])
    other = "99,60,4,1000\n"
    mine = "".join(f"1,{m},4,{1000 + m}\n" for m in range(6))
    audience = RecordedAudience(folder_with(tmp_path, "ratings.csv", HEADER + mine + alike + other))
    seen = [item for _ in range(300) if (item := audience.reaction("1", ["60", "50", "nowhere"])) is not None]
    assert seen == ["50"]


def test_columns_may_stand_in_any_order(tmp_path: Path):
    text = "timestamp,rating,movieId,userId\n5,4.5,m,u\n"
    rating = read_ratings(folder_with(tmp_path, "ratings.csv", text))[0]
    assert (rating.user, rating.item, rating.stars, rating.seconds) == ("u", "m", 4.5, 5)


def test_the_layout_with_double_colons_is_read_too(tmp_path: Path):
    rating = read_ratings(folder_with(tmp_path, "ratings.dat", "1::1193::5::978300760\n"))[0]
    assert (rating.user, rating.item, rating.stars, rating.seconds) == ("1", "1193", 5.0, 978300760)


def test_missing_columns_are_named_with_what_was_found(tmp_path: Path):
    with pytest.raises(Unmet, match=r"columns movieId, timestamp: missing; its first line has userId, rating, when"):
        read_ratings(folder_with(tmp_path, "ratings.csv", "userId,rating,when\n1,2,3\n"))


def test_a_missing_file_is_named_with_what_the_folder_holds(tmp_path: Path):
    with pytest.raises(Unmet, match=r"ratings\.csv: missing; the folder holds films\.csv"):
        read_ratings(folder_with(tmp_path, "films.csv", ""))


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(Unmet, match=r"DATA: .*nowhere is not a folder"):
        read_ratings(tmp_path / "nowhere")


@pytest.mark.parametrize("row", ["1,2,many,4", "1,2,9,4", "1,2,3", ",2,3,4", "1,2,3,-4"])
def test_a_row_that_is_no_rating_is_named_with_its_line(tmp_path: Path, row: str):
    with pytest.raises(Unmet, match="line 3"):
        read_ratings(folder_with(tmp_path, "ratings.csv", f"{HEADER}1,2,3,4\n{row}\n"))


def test_an_empty_table_is_refused(tmp_path: Path):
    with pytest.raises(Unmet, match="no ratings"):
        read_ratings(folder_with(tmp_path, "ratings.csv", HEADER))
