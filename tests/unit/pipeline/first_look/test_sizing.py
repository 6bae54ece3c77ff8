import numpy as np
import pytest

from pipeline.first_look.log_figures import LogFigures
from pipeline.first_look.sizing import choose_settings

pytestmark = pytest.mark.unit

DAY = 86_400


def log_of(users, items, seconds, rows=None, unusable_share=0.0):
    order = np.lexsort((seconds, users))
    return LogFigures(
        rows or len(users), *(np.asarray(values)[order] for values in (users, items, seconds)), unusable_share
    )


def settings_of(log):
    return {setting.key: setting.value for setting in choose_settings(log, "refuse", "")}


def steady(users=600, days=60):
    """Each user has a row a day, with an item that nobody had the day before."""
    user = np.repeat(np.arange(users), days)
    day = np.tile(np.arange(days), users)
    return user, (user * 7 + day) % 1_000, day * DAY + user


def test_users_who_come_back_are_split_by_days():
    settings = settings_of(log_of(*steady()))
    # Of 60 days one is less than 2 % of the rows, seven are 11.7 %.
    assert settings["split"] == {"kind": "last_days", "days": 7}
    assert (settings["validation"], settings["validation_days"]) == (True, 7)
    assert settings["early_stopping"] == {"patience_epochs": 3, "refit": True}


def test_users_who_come_once_are_split_one_by_one():
    users, items, seconds = steady()
    # All rows of a user within a minute, users one after the other over the days.
    settings = settings_of(log_of(users, items, users * 9_000 + seconds // DAY))
    assert settings["split"] == {"kind": "latest_per_user"}


def test_people_who_buy_again_are_recommended_everything():
    users, items, seconds = steady()
    assert settings_of(log_of(users, items, seconds))["candidates"] == "new"
    assert settings_of(log_of(users, users % 50, seconds))["candidates"] == "all"


def test_repeated_rows_are_kept_once():
    users, items, seconds = (np.repeat(values, 2) for values in steady())
    assert settings_of(log_of(users, items, seconds))["repeated"] == "keep_last"


def test_rows_that_cannot_be_used_raise_the_limit():
    # Half as much again as 2.9 %, in whole percent.
    assert settings_of(log_of(*steady(), unusable_share=0.029))["maximum_rejected_fraction"] == 0.05


def test_a_robot_is_limited():
    users, items, seconds = steady()
    robot = np.full(3_000, 600)
    settings = settings_of(
        log_of(
            np.concatenate([users, robot]),
            np.concatenate([items, np.arange(3_000) % 1_000]),
            np.concatenate([seconds, np.arange(3_000) * 1_000]),
        )
    )
    assert 60 < settings["max_positives_per_user"] < 3_000


@pytest.mark.parametrize(
    ("rows", "batch", "rate", "epochs", "dim"),
    [
        (5_000, 64, 0.002, 40, 32),
        (100_000, 256, 0.002, 40, 64),
        (200_000, 512, 0.003, 40, 64),
        (1_000_000, 1_024, 0.003, 20, 64),
        (50_000_000, 1_024, 0.003, 3, 64),
    ],
)
def test_the_training_is_sized_by_the_rows(rows, batch, rate, epochs, dim):
    settings = settings_of(log_of(*steady(), rows=rows))
    found = (settings[key] for key in ("per_replica_batch", "learning_rate", "epochs", "dim"))
    assert tuple(found) == (batch, rate, epochs, dim)


def test_few_users_have_no_validation():
    settings = settings_of(log_of([0, 0, 0, 1, 1], [1, 2, 3, 1, 2], [1, 2, 3, 4, 5]))
    assert settings["validation"] is False
    assert "early_stopping" not in settings
    assert settings["epochs"] == 10
