import pytest

from pipeline.config import load_config
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

SHIPPED = "pipeline/configs/movielens_100k.yaml"


def test_what_is_kept_and_told_by_default():
    retraining = load_config(SHIPPED).retraining
    retention = retraining.retention
    assert (retention.releases.keep, retention.releases.days) == (7, 7.0)
    assert (retention.runs.keep, retention.runs.days) == (7, 7.0)
    assert (retention.checkpoint_days, retention.log_days, retention.work_file_days) == (14.0, 90.0, 1.0)
    assert retraining.notify.on == ("failure", "refused", "recovery")
    assert (retraining.notify.urls_env, retraining.notify.command) == ("DSSM_NOTIFY_URLS", None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("retention.runs.keep=0", r"retraining\.retention\.runs\.keep: expected at least 1\. Received: 0"),
        ("retention.releases.days=-1", r"releases\.days: expected at least 0\. Received: -1"),
        ("retention.logs_days=1", r"unknown key .*logs_days'; did you mean .*log_days'"),
        ("notify.on=[failed]", r"notify\.on.*expected .*'failure' \(did you mean|did you mean 'failure'"),
        ("notify.attempts=0", r"notify\.attempts: expected at least 1"),
        ("notify.command=[]", r"retraining\.notify: expected command with at least a program, or null"),
    ],
)
def test_what_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(SHIPPED, (f"retraining.{override}",))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("urls_env: slack://TokenA/TokenB", "expected urls_env to be the name of an environment variable"),
        ("urls: [slack://TokenA/TokenB]", "did you mean 'retraining.notify.urls_env'"),
        ("command: [curl, 'https://hooks.example/TokenA']", "expected command without URLs and credentials"),
        ("command: [tell, --token=TokenA]", "expected command without URLs and credentials"),
    ],
)
def test_a_secret_is_refused_and_not_shown(tmp_path, line, message):
    file = tmp_path / "config.yaml"
    file.write_text(
        "run: {name: shop, directory: runs}\n"
        "data: {schema: schemas/movielens_100k.yaml, directory: data}\n"
        "serving: {directory: serving}\n"
        f"retraining:\n  notify:\n    {line}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(str(file))
    assert message in str(caught.value)
    assert "Token" not in str(caught.value)
