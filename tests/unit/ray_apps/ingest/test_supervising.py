"""The driver's judgement of its consumer, one world a row."""

import pytest

from ray_apps.ingest.supervising import Ending, Health, Patience, Word, judge

PATIENCE = Patience(silent_s=60, beat_s=90, writing_s=300, restarts=2, within_s=900)


def health(
    *, beat: float = 0.1, writing: float = 0.0, troubled: float | None = None, failures: int = 2, ending: Ending | None = None
) -> Health:
    return Health(
        pid=1,
        beat_age_s=beat,
        writing_age_s=writing,
        rows=0,
        dead_letters=0,
        commits=0,
        sequence=0,
        sessions=1,
        trouble="" if troubled is None else "disk full",
        trouble_age_s=troubled or 0.0,
        failures=0 if troubled is None else failures,
        ending=ending,
    )


@pytest.mark.parametrize(
    ("seen", "silent_s", "restarts", "word"),
    [
        (health(), 0, [], Word.WELL),
        (health(beat=91), 0, [], Word.RESTART),
        (health(writing=301), 0, [], Word.RESTART),
        (health(writing=299), 0, [], Word.WELL),
        (None, 59, [], Word.WELL),
        (None, 61, [], Word.RESTART),
        (None, 61, [950.0], Word.RESTART),
        (None, 61, [900.0, 950.0], Word.GIVE_UP),
        (None, 61, [10.0, 20.0], Word.RESTART),
        (health(troubled=5.9), 0, [], Word.WELL),
        (health(troubled=6.1), 0, [], Word.TROUBLED),
        (health(troubled=29.9, failures=1), 0, [], Word.WELL),
        (health(troubled=30.1, failures=1), 0, [], Word.TROUBLED),
        (health(troubled=6.1, ending=Ending.FENCED), 0, [], Word.ENDED),
        (health(ending=Ending.FAILED), 0, [], Word.RESTART),
        (health(ending=Ending.FAILED), 0, [900.0, 950.0], Word.GIVE_UP),
        (health(ending=Ending.FENCED), 0, [], Word.ENDED),
        (health(ending=Ending.REFUSED), 0, [900.0, 950.0], Word.ENDED),
        (health(ending=Ending.STOPPED), 0, [], Word.ENDED),
    ],
)
def test_a_consumer_is_left_alone_started_again_or_given_up(
    seen: Health | None, silent_s: float, restarts: list[float], word: Word
) -> None:
    assert judge(seen, now=1000.0, answered_at=1000.0 - silent_s, restarts=restarts, patience=PATIENCE) is word
