import dataclasses
import datetime
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import PipelineConfig, load_config
from schemas.errors import ConfigError
from schemas.yaml_files import locate

pytestmark = pytest.mark.unit

SHIPPED = "pipeline/configs/movielens_100k.yaml"


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    file = tmp_path / "small.yaml"
    file.write_text(
        "run: {name: small, directory: runs}\n"
        "data: {schema: schemas/movielens_100k.yaml, directory: data}\n"
        "serving: {directory: serving}\n"
        "ingest: {split: {kind: latest_per_user, skip_latest: 1}}\n"
        "training: {epochs: 2}\n"
    )
    return str(file)


def test_the_shipped_configuration_is_what_the_file_says() -> None:
    config = load_config(SHIPPED)
    assert config.run.name == "movielens_100k"
    assert config.ingest.positives is None
    assert config.ingest.split.kind == "latest_per_user"
    assert config.training.learning_rate == 0.001
    assert config.evaluation.ks == (10, 50, 100)
    assert config.trainer.training is config.training
    assert config.load_features().name == "movielens_100k"


def test_copies_of_releases_are_kept_in_the_run_directory(config_file: str) -> None:
    assert load_config(config_file).run.release_cache == Path("runs/release-cache")


@pytest.mark.parametrize("file", sorted(Path("pipeline/configs").rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_configuration_fits_its_schema_file(file: Path) -> None:
    config = load_config(str(file))
    features = config.load_features()
    # A configuration is found by its name, and so are its runs and releases.
    assert (config.run.name, Path(config.run.directory).name) == (file.stem, file.stem)
    assert Path(config.serving.directory).name == file.stem
    assert features.name == Path(config.data.schema).stem


def test_the_trainer_validates_as_the_model_is_evaluated() -> None:
    assert load_config(SHIPPED).trainer.candidates == "new"
    assert load_config(SHIPPED, ("evaluation.candidates=all",)).trainer.candidates == "all"


def test_a_mapped_column_that_is_none_is_refused_with_the_schema(tmp_path: Path) -> None:
    shipped = locate("schemas/movielens_100k.yaml").read_text()
    wrong = tmp_path / "shop.yaml"
    wrong.write_text(
        shipped.replace("{file: users.parquet}", "{file: users.parquet, columns: {agee: years}}")
    )
    config = load_config(SHIPPED, (f"data.schema={wrong}",))
    with pytest.raises(ConfigError, match=r"tables\.users\.columns: .*Received: 'agee'. Did you mean 'age'"):
        config.load_features()


def test_a_feature_of_the_map_that_is_none_is_refused_with_the_schema() -> None:
    for name in ("genres", "title"):
        load_config(SHIPPED, (f"report.map_feature={name}",)).load_features()
    config = load_config(SHIPPED, ("report.map_feature=gender",))
    with pytest.raises(ConfigError, match=r"one of item_id, year, genres, title. Received: 'gender'"):
        config.load_features()


def test_early_stopping_needs_the_split_that_it_looks_at() -> None:
    with pytest.raises(
        ConfigError, match=r"training\.early_stopping: expected ingest\.validation: true.*false"
    ):
        load_config(SHIPPED, ("training.early_stopping={k: 10}",))
    config = load_config(SHIPPED, ("training.early_stopping={k: 10}", "ingest.validation=true"))
    assert config.training.early_stopping is not None
    assert load_config(SHIPPED, ("ingest.validation=true",)).training.early_stopping is None


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.epochs=3", "training.epochs", 3),
        (" training.epochs = 3", "training.epochs", 3),
        ("training.learning_rate=1e-3", "training.learning_rate", 0.001),
        ("model.user_layers=[64, 32]", "model.user_layers", (64, 32)),
        ("model.user_layers=[]", "model.user_layers", ()),
        ("loss.logq=false", "loss.logq", False),
        ("run.name=a=b", "run.name", "a=b"),
        ("run.name='7'", "run.name", "7"),
        ("training.replicas=2", "training.replicas", 2),
        ("training.replicas=null", "training.replicas", None),
        ("ingest.positives.column=rating", "ingest.positives.column", "rating"),
        ("ingest.split.skip_latest=0", "ingest.split.skip_latest", 0),
        (
            "beam.options=[--runner=FlinkRunner, --parallelism=2]",
            "beam.options",
            ("--runner=FlinkRunner", "--parallelism=2"),
        ),
    ],
)
def test_an_override_replaces_one_key(config_file: str, override: str, path: str, value: object) -> None:
    overrides = (override, "ingest.positives.at_least=4") if "positives" in override else (override,)
    found: object = load_config(config_file, overrides)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_the_last_override_of_a_key_wins_and_the_rest_of_the_file_stays(config_file: str) -> None:
    before = load_config(config_file)
    after = load_config(config_file, ("training.epochs=3", "training.epochs=5"))
    assert after.training == dataclasses.replace(before.training, epochs=5)
    assert dataclasses.replace(after, training=before.training) == before


def test_a_whole_section_can_be_set(config_file: str) -> None:
    config = load_config(config_file, ("ingest.split={kind: cut_off, time: 2026-11-01T00:00:00Z}",))
    assert config.ingest.split.kind == "cut_off"
    assert config.ingest.split.time == datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.epochs", r"--set: expected section\.key=value\. Received: 'training\.epochs'"),
        ("=3", r"--set: expected section\.key=value\. Received: '=3'"),
        ("training..epochs=3", r"--set: expected section\.key=value"),
        (".epochs=3", r"--set: expected section\.key=value"),
        ("training.epochs.x=3", "'epochs' is a value, not a section"),
        ("training.epochs=[1", r"--set training\.epochs=\[1: not valid YAML"),
        ("training.epochs={a: 1, a: 2}", "the key 'a' stands here twice"),
        (
            "training.epoch=3",
            r"small\.yaml --set training\.epoch=3: unknown key 'training\.epoch'; "
            r"did you mean 'training\.epochs'\?",
        ),
        ("trainng.epochs=3", "unknown key 'trainng'; did you mean 'training'"),
        ("epochs=3", r"unknown key 'epochs'; did you mean 'training\.epochs'"),
        (
            "model.learning_rate=1",
            r"unknown key 'model\.learning_rate'; did you mean 'training\.learning_rate'",
        ),
        ("training.epochs=", r"training\.epochs: expected a whole number\. Received: nothing"),
        (
            "ingest.split.kind=cutoff",
            r"ingest\.split\.kind: expected 'latest_per_user' or 'cut_off' or 'last_days'"
            r" \(did you mean 'cut_off'\?\)",
        ),
        (
            "ingest.split.kind=cut_off",
            r"unknown key 'ingest\.split\.skip_latest' with kind 'cut_off'; known here: kind, time",
        ),
        (
            "ingest.split.skip_lastest=1",
            r"unknown key 'ingest\.split\.skip_lastest'; did you mean 'ingest\.split\.skip_latest'",
        ),
        (
            "ingest.positives.colunm=rating",
            r"unknown key 'ingest\.positives\.colunm'; did you mean 'ingest\.positives\.column'",
        ),
        ("loss.temperature=0", r"loss\.temperature: expected more than 0\. Received: 0"),
        ("model.dropout=1.0", r"model\.dropout: expected less than 1\. Received: 1\.0"),
        ("training.per_replica_batch=1", r"training\.per_replica_batch: expected at least 2\. Received: 1"),
        ("evaluation.blessing_metric=recal_at_7", r"expected one of \['recall', .* Received: 'recal_at_7'"),
    ],
)
def test_a_wrong_override_is_refused(config_file: str, override: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config(config_file, (override,))


SECTIONS = [
    (field.name, key.name)
    for field in dataclasses.fields(PipelineConfig)
    for key in dataclasses.fields(field.type if isinstance(field.type, type) else field.default_factory)  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("section", "key"), SECTIONS)
def test_a_typo_in_any_section_names_the_right_key(config_file: str, section: str, key: str) -> None:
    typo = key[0] + key[2] + key[1] + key[3:] if len(key) > 3 and key[1] != key[2] else key + "x"
    with pytest.raises(
        ConfigError, match=rf"unknown key '{section}\.{typo}'; did you mean '{section}\.{key}'"
    ):
        load_config(config_file, (f"{section}.{typo}=1",))


def test_an_empty_file_and_a_missing_section_say_so(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"x\.yaml is empty"):
        load_config(str(tmp_path / "x.yaml"))
    (tmp_path / "x.yaml").write_text("model: {}\n")
    with pytest.raises(
        ConfigError, match=r"(?s)missing key 'run'.*missing key 'data'.*missing key 'serving'"
    ):
        load_config(str(tmp_path / "x.yaml"))


def test_a_missing_file_suggests_the_shipped_one() -> None:
    with pytest.raises(
        ConfigError, match=r"'movielens\.yaml' does not exist.*'pipeline/configs/movielens_100k\.yaml'"
    ):
        load_config("movielens.yaml")


def test_a_mistyped_key_is_refused_in_under_a_second() -> None:
    code = (
        "from pipeline.config import load_config\n"
        "from schemas.errors import ConfigError\n"
        "try: load_config('pipeline/configs/movielens_100k.yaml', ('training.epoch=3',))\n"
        "except ConfigError as error: print(error)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "did you mean 'training.epochs'?" in result.stdout
    # The processor's, not the clock's, which other programs slow down. The bar is one second; the rest is for
    # a processor that others share.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3.0
