"""Every repair of the entrypoint, on what KFP 2.17's driver and launcher really sent (samples/)."""

import json
import logging
import subprocess
import sys
import types
from pathlib import Path

import pytest
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import standard_artifacts

from components.execution import (
    PlainBeamExecutor,
    PlainExecutor,
    get_optional_path,
    get_path,
    get_split_paths,
)
from pipeline.kubeflow import entrypoint
from pipeline.kubeflow.container_artifacts import to_metadata, to_tfx_artifact
from pipeline.kubeflow.container_io import ContainerError, RuntimeArtifact, parse_invocation, to_local_path
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import DataError

pytestmark = pytest.mark.integration

SAMPLES = Path(__file__).parent / "samples"
REPORT = {"instanceSchema": "title: components.Report\ntype: object\n"}
EXAMPLES = {"instanceSchema": "title: tfx.Examples\ntype: object\n"}
ROOT = Path("/")


def read_sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text())


def read_argument(name, flag):
    arguments = read_sample(name)["containers"][0]["args"]
    return arguments[arguments.index(flag) + 1]


def store_in_kfp(metadata):
    """What KFP's launcher makes of an output's metadata (backend/src/v2/metadata/converter.go)."""
    stored = {"display_name": "corpus", "store_session_info": '{"Provider": "s3"}'}
    for key, value in metadata.items():
        match value:
            case None:
                raise AssertionError(f"unknown/unsupported value type: {key}")
            case bool() | int() | float():
                stored[key] = float(value)
            case list():
                stored[key] = {"list": value}
            case dict():
                stored[key] = {"struct": value}
            case str():
                stored[key] = value
    # protojson writes a whole double without a fraction.
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in stored.items()}


def through_kfp(artifact):
    metadata = json.loads(json.dumps(to_metadata(artifact, "corpus"), allow_nan=False))
    title = {"Report": "components.Report"}.get(type(artifact).__name__, f"tfx.{type(artifact).__name__}")
    return to_tfx_artifact(RuntimeArtifact(title, "s3://b/k", Path("/s3/b/k"), "1", store_in_kfp(metadata)))


def make_report():
    return to_tfx_artifact(RuntimeArtifact("components.Report", "s3://b/k", Path("/s3/b/k")))


class Task:
    """One task in a container's file system of its own; `do` is what the executor does."""

    def __init__(self, root, monkeypatch, capsys):
        self.root, self.monkeypatch, self.capsys = root, monkeypatch, capsys
        self.message = {
            "inputs": {},
            "outputs": {
                "artifacts": {
                    "report": {
                        "artifacts": [
                            {"name": "report", "type": REPORT, "uri": "s3://bucket/run/Step/1/report"}
                        ]
                    },
                    "executor-logs": {
                        "artifacts": [
                            {
                                "name": "executor-logs",
                                "type": {"schemaTitle": "system.Artifact"},
                                "uri": "s3://bucket/run/Step/1/executor-logs-0",
                            }
                        ]
                    },
                },
                "outputFile": "/s3/bucket/run/Step/1/output_metadata.json",
            },
        }
        self.spec = {}

    @property
    def output_file(self):
        return self.root / self.message["outputs"]["outputFile"].lstrip("/")

    def run(self, do, base=BaseExecutor, extra=()):
        executor = type("Executor", (base,), {"Do": do, "__module__": "step_under_test"})
        module = types.ModuleType("step_under_test")
        module.Executor = executor
        self.monkeypatch.setitem(sys.modules, "step_under_test", module)
        self.monkeypatch.setenv("DSSM_CONTAINER_ROOT", str(self.root))
        arguments = [
            "--executor_class_path", "step_under_test.Executor",
            "--json_serialized_invocation_args", json.dumps(self.message),
            "--json_serialized_inputs_spec_args", json.dumps(self.spec),
            *extra,
        ]  # fmt: skip
        status = entrypoint.main(arguments)
        self.stderr = self.capsys.readouterr().err
        return status

    def read_output(self, key="report"):
        [artifact] = json.loads(self.output_file.read_text())["artifacts"][key]["artifacts"]
        return artifact


@pytest.fixture
def task(tmp_path, monkeypatch, capsys):
    for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS"):
        monkeypatch.setenv(name, "2" if "LOG" in name else "1")
    return Task(tmp_path / "container", monkeypatch, capsys)


def write_report(self, inputs, outputs, properties):
    Path(outputs["report"][0].uri, "report.json").write_text("{}")


def test_output_executor_logs_is_dropped():
    sample = json.dumps(read_sample("CsvExampleGen.as-seen-in-the-container"))
    assert set(parse_invocation(sample, None, ROOT).outputs) == {"examples"}


def test_outputs_have_the_types_that_the_driver_sends():
    outputs = parse_invocation(json.dumps(read_sample("Transform.executor-input")), None, ROOT).outputs
    types_ = {key: type(to_tfx_artifact(value)).__name__ for key, [value] in outputs.items()}
    assert types_ == {
        "post_transform_anomalies": "ExampleAnomalies",
        "post_transform_schema": "Schema",
        "post_transform_stats": "ExampleStatistics",
        "pre_transform_schema": "Schema",
        "pre_transform_stats": "ExampleStatistics",
        "transform_graph": "TransformGraph",
        "transformed_examples": "Examples",
        "updated_analyzer_cache": "TransformCache",
    }


def test_type_that_is_not_in_the_image_is_told():
    outputs = parse_invocation(json.dumps(read_sample("MakeCorpus.executor-input")), None, ROOT).outputs
    with pytest.raises(ContainerError, match=r"'tinytypes\.Corpus': expected a type of TFX"):
        to_tfx_artifact(outputs["corpus"][0])


def test_inputs_get_their_types_from_the_inputs_spec():
    spec = read_argument("Trainer.pod-spec-patch", "--json_serialized_inputs_spec_args")
    inputs = parse_invocation(json.dumps(read_sample("Trainer.executor-input")), spec, ROOT).inputs
    assert {key: type(to_tfx_artifact(value)) for key, [value] in inputs.items()} == {
        "examples": standard_artifacts.Examples,
        "schema": standard_artifacts.Schema,
        "transform_graph": standard_artifacts.TransformGraph,
    }


def test_input_artifact_has_path_id_and_properties():
    spec = read_argument("Trainer.pod-spec-patch", "--json_serialized_inputs_spec_args")
    inputs = parse_invocation(json.dumps(read_sample("Trainer.executor-input")), spec, ROOT).inputs
    examples = to_tfx_artifact(inputs["examples"][0])
    task = "/s3/bucket/pipelines/tiny/run-1/Transform/5bd2dcc3-9e7c-492a-b65a-1126b27979b9"
    assert examples.uri == f"{task}/transformed_examples"
    assert examples.id == 16
    assert examples.split_names == '["train", "eval"]'
    assert examples.get_string_custom_property("tfx_version") == "1.21.0"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://bucket/a/b", "/container/gcs/bucket/a/b"),
        ("s3://bucket/a/b", "/container/s3/bucket/a/b"),
        ("minio://bucket/a/b", "/container/minio/bucket/a/b"),
        ("file:///data/a%20b", "/data/a b"),
        ("/data/a b", "/data/a b"),
    ],
)
def test_uri_is_found_at_its_mount_point(uri, path):
    assert to_local_path(uri, Path("/container")) == Path(path)


@pytest.mark.parametrize(
    "uri",
    ["", "relative/path", ".", "s3://", "s3://bucket", "s3://bucket/", "s3://bucket/../other", "file://"],
)
def test_uri_that_names_no_folder_of_its_own_is_refused(uri):
    with pytest.raises(ContainerError, match=rf"Artifact URI '{uri}': expected"):
        to_local_path(uri, Path("/container"))


def test_scheme_that_nobody_mounts_is_refused():
    with pytest.raises(ContainerError, match=r"expected gs://, s3:// or minio://.*Received: hdfs://"):
        to_local_path("hdfs://host/a", ROOT)


def test_output_is_written_under_the_mount_and_given_back_as_its_uri(task):
    assert task.run(write_report) == 0, task.stderr
    assert (task.root / "s3/bucket/run/Step/1/report/report.json").read_text() == "{}"
    assert task.read_output()["uri"] == "s3://bucket/run/Step/1/report"
    assert list(json.loads(task.output_file.read_text())["artifacts"]) == ["report"]


def test_what_an_executor_does_to_the_uri_is_not_given_back(task):
    def move(self, inputs, outputs, properties):
        write_report(self, inputs, outputs, properties)
        outputs["report"][0].uri = "/elsewhere"

    assert task.run(move) == 0, task.stderr
    assert task.read_output()["uri"] == "s3://bucket/run/Step/1/report"


def test_kfp_2_14_sends_nameless_outputs_and_an_output_file_in_a_missing_directory(task):
    del task.message["outputs"]["artifacts"]["report"]["artifacts"][0]["name"]
    del task.message["outputs"]["artifacts"]["executor-logs"]
    task.message["outputs"]["outputFile"] = "/tmp/kfp_outputs/output_metadata.json"
    assert task.run(write_report) == 0, task.stderr
    assert task.output_file == task.root / "tmp/kfp_outputs/output_metadata.json"
    assert task.read_output()["uri"] == "s3://bucket/run/Step/1/report"


def test_inputs_and_parameters_may_be_absent(task):
    del task.message["inputs"]

    def check(self, inputs, outputs, properties):
        assert inputs == {}
        assert properties == {}
        write_report(self, inputs, outputs, properties)

    assert task.run(check) == 0, task.stderr


def test_leftovers_of_an_earlier_attempt_are_removed(task):
    leftover = task.root / "s3/bucket/run/Step/1/report/half.json"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("{")
    task.output_file.write_text('{"parameterValues": {"epochs": 7}}')
    assert task.run(write_report) == 0, task.stderr
    assert not leftover.exists()


def test_parameters_have_their_declared_types():
    message = read_sample("custom-artifact-in.as-seen-in-the-container")
    message["inputs"]["parameterValues"] = {
        "epochs": 3.0, "rate": 2, "word": "7", "flag": True, "absent": None, "undeclared": 1.5,
    }  # fmt: skip
    types = {
        "epochs": "NUMBER_INTEGER", "rate": "NUMBER_DOUBLE", "word": "STRING",
        "flag": "BOOLEAN", "absent": "STRING",
    }  # fmt: skip
    spec = {"parameters": {name: {"parameterType": value} for name, value in types.items()}}
    spec["artifacts"] = {"corpus": {"artifactType": REPORT}}
    parameters = parse_invocation(json.dumps(message), json.dumps(spec), ROOT).parameters
    assert parameters == {"epochs": 3, "rate": 2.0, "word": "7", "flag": True, "undeclared": 1.5}
    assert [type(value) for value in parameters.values()] == [int, float, str, bool, float]


@pytest.mark.parametrize(
    ("declared", "value"),
    [("NUMBER_INTEGER", 2.5), ("NUMBER_INTEGER", "3"), ("NUMBER_DOUBLE", True), ("STRING", 3)],
)
def test_parameter_of_another_type_is_refused(declared, value):
    message = {"inputs": {"parameterValues": {"epochs": value}}, "outputs": {"outputFile": "/o"}}
    spec = {"parameters": {"epochs": {"parameterType": declared}}}
    with pytest.raises(ContainerError, match=r"'epochs': expected (integer|double|string)\. Received: "):
        parse_invocation(json.dumps(message), json.dumps(spec), ROOT)


def test_text_broken_by_a_replaced_placeholder_is_explained():
    with pytest.raises(ContainerError, match="looks like a placeholder"):
        parse_invocation('{"inputs": {"x": "a "quoted" text"}}', None, ROOT)


def test_custom_properties_as_kfp_2_17_really_sends_them():
    message = read_sample("custom-artifact-in.as-seen-in-the-container")
    message["inputs"]["artifacts"]["corpus"]["artifacts"][0]["type"] = REPORT
    [corpus] = parse_invocation(json.dumps(message), None, ROOT).inputs["corpus"]
    artifact = to_tfx_artifact(corpus)
    assert artifact.get_int_custom_property("big") == 9007199254740990
    assert artifact.get_json_value_custom_property("dct") == {"k": [1.5, 2]}
    assert artifact.get_json_value_custom_property("lst") == [1, "a", {"b": None}]
    assert artifact.get_custom_property("empty") == ""
    assert artifact.get_float_custom_property("f") == 0.1
    assert artifact.get_string_custom_property("uni") == 'héé "q" {{$.x}}'
    assert not artifact.has_custom_property("display_name")
    assert not artifact.has_custom_property("store_session_info")


def test_custom_properties_come_back_as_they_were_set():
    report = make_report()
    report.set_int_custom_property("zero", 0)
    report.set_int_custom_property("version", 12)
    report.set_float_custom_property("score", 0.25)
    report.set_float_custom_property("whole", 2.0)
    report.set_bool_custom_property("blessed", True)
    report.set_bool_custom_property("pushed", False)
    report.set_string_custom_property("empty", "")
    report.set_string_custom_property("digits", "007")
    report.set_json_value_custom_property("list", [1.5, {"a": None}])
    report.set_json_value_custom_property("dict", {"struct": {"k": "v"}})
    report.set_json_value_custom_property("scalar", 7.0)
    back = through_kfp(report)
    assert back.get_custom_property("dict") == {"struct": {"k": "v"}}
    assert back.get_custom_property("zero") == 0
    assert type(back.get_custom_property("version")) is int
    assert back.get_int_custom_property("version") == 12
    assert back.get_float_custom_property("score") == 0.25
    assert back.get_float_custom_property("whole") == 2.0
    assert back.get_bool_custom_property("blessed") is True
    assert back.get_custom_property("pushed") is False
    assert back.get_custom_property("empty") == ""
    assert back.get_string_custom_property("digits") == "007"
    assert back.get_json_value_custom_property("list") == [1.5, {"a": None}]
    assert back.get_json_value_custom_property("dict") == {"struct": {"k": "v"}}
    assert back.get_json_value_custom_property("scalar") == 7.0


def test_properties_come_back_beside_custom_ones_of_the_same_name():
    examples = standard_artifacts.Examples()
    examples.span = 3
    examples.split_names = '["train"]'
    examples.set_int_custom_property("span", 5)
    back = through_kfp(examples)
    assert (back.span, back.split_names) == (3, '["train"]')
    assert type(back.span) is int
    assert back.get_int_custom_property("span") == 5


def test_whole_double_of_an_int_property_is_an_int():
    examples = to_tfx_artifact(RuntimeArtifact("tfx.Examples", "s3://b/k", Path("/k"), "1", {"span": 3.0}))
    assert (examples.span, type(examples.span)) == (3, int)


def test_span_of_a_real_sample_is_the_custom_property():
    sample = json.dumps(read_sample("StatisticsGen.executor-input"))
    spec = json.dumps({"artifacts": {"examples": {"artifactType": EXAMPLES}}})
    examples = to_tfx_artifact(parse_invocation(sample, spec, ROOT).inputs["examples"][0])
    assert examples.get_custom_property("span") == 0
    assert not examples.has_property("span")


def test_null_is_left_out():
    report = make_report()
    report.set_json_value_custom_property("nothing", None)
    # To read a missing key of a protobuf map is to set it.
    assert report.mlmd_artifact.custom_properties["looked_at"].string_value == ""
    assert to_metadata(report, "report") == {}


def test_number_that_a_double_cannot_hold_is_refused():
    report = make_report()
    report.set_int_custom_property("fingerprint", 2**53 + 1)
    with pytest.raises(ContainerError, match=r"'fingerprint' is 9007199254740993.*Make it a string"):
        to_metadata(report, "report")


def test_number_that_json_cannot_hold_is_refused():
    report = make_report()
    report.set_float_custom_property("loss", float("nan"))
    with pytest.raises(ContainerError, match=r"'loss': expected a finite number\. Received: nan"):
        to_metadata(report, "report")


def test_an_inputs_display_name_is_not_echoed(task):
    task.message["inputs"] = {
        "artifacts": {
            "corpus": {
                "artifacts": [
                    {
                        "name": "1",
                        "type": {"instanceSchema": ""},
                        "uri": "s3://bucket/corpus",
                        "metadata": {"display_name": "corpus", "store_session_info": "{}", "rows": 7},
                    }
                ]
            }
        }
    }
    task.spec = {"artifacts": {"corpus": {"artifactType": REPORT}}}

    def copy(self, inputs, outputs, properties):
        write_report(self, inputs, outputs, properties)
        [corpus], [report] = inputs["corpus"], outputs["report"]
        for key, value in corpus.mlmd_artifact.custom_properties.items():
            report.mlmd_artifact.custom_properties[key].CopyFrom(value)

    assert task.run(copy) == 0, task.stderr
    assert set(task.read_output()["metadata"]) == {"rows", "tfx_version"}


def test_output_that_was_not_written_fails_the_task(task):
    def write_only_an_empty_folder(self, inputs, outputs, properties):
        Path(outputs["report"][0].uri, "empty").mkdir()

    assert task.run(write_only_an_empty_folder) == 1
    assert "Expected a file in every declared output. Received: none in report." in task.stderr
    assert not task.output_file.exists()


def test_model_run_may_stay_empty(task):
    outputs = task.message["outputs"]["artifacts"]
    outputs["report"]["artifacts"][0]["type"] = {"instanceSchema": "title: tfx.ModelRun\ntype: object\n"}
    assert task.run(lambda *_: None) == 0, task.stderr


def test_output_parameter_holds_the_value(task):
    outputs = task.message["outputs"]
    outputs["artifacts"]["report"]["artifacts"][0]["type"] = {"instanceSchema": "title: tfx.Integer\n"}
    outputs["parameters"] = {"report": {"outputFile": "/tmp/kfp/outputs/report"}}

    def write_value(self, inputs, outputs, properties):
        outputs["report"][0].value = 42

    assert task.run(write_value) == 0, task.stderr
    assert json.loads(task.output_file.read_text())["parameterValues"] == {"report": 42}


def test_error_of_the_user_is_one_line(task):
    def refuse(self, inputs, outputs, properties):
        raise DataError("items.parquet: expected a column 'year'. Received: none.")

    assert task.run(refuse) == 1
    assert task.stderr == "Error: Executor: items.parquet: expected a column 'year'. Received: none.\n"
    assert not task.output_file.exists()


def test_unexpected_error_ends_with_one_line_and_leaves_its_traceback_in_the_log(task, caplog):
    def fail(self, inputs, outputs, properties):
        raise ValueError("first line\nsecond line")

    assert task.run(fail) == 1
    assert task.stderr == "Unexpected error: Executor: ValueError: second line\n"
    assert "Traceback" in caplog.text


def test_executor_that_is_not_in_the_image_is_told(capsys):
    arguments = [
        "--executor_class_path=components.nothing.Executor",
        '--json_serialized_invocation_args={"outputs": {"outputFile": "/tmp/o"}}',
    ]
    assert entrypoint.main(arguments) == 1
    assert "components.nothing.Executor: expected a class in this image" in capsys.readouterr().err


def test_missing_argument_is_a_usage_error():
    with pytest.raises(SystemExit, match="2"):
        entrypoint.main(["--executor_class_path=a.B"])


def test_beam_executor_gets_the_other_arguments(task):
    # With an image named, TFX does not build a package of itself for Beam's workers.
    options = ["--runner=FnApiRunner", "--sdk_container_image=unused"]

    def check(self, inputs, outputs, properties):
        assert self._beam_pipeline_args[:2] == options
        assert Path(self._get_tmp_dir()).is_relative_to(task.root)
        write_report(self, inputs, outputs, properties)

    assert task.run(check, base=BaseBeamExecutor, extra=options) == 0, task.stderr


def test_a_plain_executor_is_given_plain_artifacts(task):
    examples = {"name": "3", "type": {"instanceSchema": ""}, "uri": "s3://bucket/examples"}
    metadata = {"split_names": '["train", "eval"]', "display_name": "examples"}
    task.message["inputs"] = {
        "artifacts": {"examples": {"artifacts": [{**examples, "metadata": metadata}]}},
        "parameterValues": {"epochs": 3.0},
    }
    task.spec = {
        "artifacts": {"examples": {"artifactType": EXAMPLES}},
        "parameters": {"epochs": {"parameterType": "NUMBER_INTEGER"}},
    }

    def check(self, inputs, outputs, properties):
        folder = task.root / "s3/bucket/examples"
        assert get_path(inputs, "examples") == folder
        assert get_split_paths(inputs, "examples") == {
            "train": folder / "Split-train",
            "eval": folder / "Split-eval",
        }
        assert get_optional_path(inputs, "contexts") is None
        assert properties == {"epochs": 3}
        write_report(self, inputs, outputs, properties)
        [report] = outputs["report"]
        report.set_int_custom_property("pushed", 1)
        report.set_string_custom_property("release", "s3://bucket/releases/1")

    assert task.run(check, base=PlainExecutor) == 0, task.stderr
    assert task.read_output() == {
        "name": "report",
        "uri": "s3://bucket/run/Step/1/report",
        "metadata": {"tfx_version": "1.21.0", "pushed": 1, "release": "s3://bucket/releases/1"},
    }


def test_plain_and_tfx_artifacts_say_the_same(task):
    def note(self, inputs, outputs, properties):
        write_report(self, inputs, outputs, properties)
        outputs["report"][0].set_int_custom_property("version", 12)
        outputs["report"][0].set_string_custom_property("empty", "")

        [users] = outputs["users"]
        users.split_names = '["train", "eval"]'
        users.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        assert get_split_paths(outputs, "users")["eval"] == Path(users.uri, "Split-eval")
        Path(users.uri, "examples").write_text("")

    users = {"name": "users", "type": EXAMPLES, "uri": "s3://bucket/run/Step/1/users"}
    task.message["outputs"]["artifacts"]["users"] = {"artifacts": [users]}
    outputs = []
    for base in (PlainExecutor, BaseExecutor):
        assert task.run(note, base=base) == 0, task.stderr
        outputs.append(json.loads(task.output_file.read_text()))
    assert outputs[0] == outputs[1]
    [users] = outputs[0]["artifacts"]["users"]["artifacts"]
    assert users["metadata"] == {
        "tfx_version": "1.21.0",
        "split_names": '["train", "eval"]',
        "payload_format": "FORMAT_TF_EXAMPLE",
    }


def test_a_plain_executor_is_given_beams_options(task):
    def run_beam(self, inputs, outputs, properties):
        pipeline = self.make_beam_pipeline()
        options = pipeline.options.get_all_options()
        assert (options["runner"], options["direct_num_workers"]) == ("FnApiRunner", 3)
        write_report(self, inputs, outputs, properties)

    options = ("--runner=FnApiRunner", "--direct_num_workers=3")
    assert task.run(run_beam, base=PlainBeamExecutor, extra=options) == 0, task.stderr


def test_plain_output_that_was_not_written_fails_the_task_unless_it_may_be_empty(task):
    assert task.run(lambda *_: None, base=PlainExecutor) == 1
    assert "Received: none in report." in task.stderr
    outputs = task.message["outputs"]["artifacts"]
    outputs["report"]["artifacts"][0]["type"] = {"instanceSchema": "title: tfx.PushedModel\n"}
    assert task.run(lambda *_: None, base=PlainExecutor) == 0, task.stderr


def test_a_plain_executor_gives_the_output_parameters_that_are_asked_for(task):
    def write_and_give(self, inputs, outputs, properties):
        write_report(self, inputs, outputs, properties)
        return {"is_due": "yes"}

    assert task.run(write_and_give, base=PlainExecutor) == 1
    assert "Output parameters: expected none. Received: is_due." in task.stderr
    task.message["outputs"]["parameters"] = {"is_due": {"outputFile": "/tmp/kfp/outputs/is_due"}}
    assert task.run(write_and_give, base=PlainExecutor) == 0, task.stderr
    assert json.loads(task.output_file.read_text())["parameterValues"] == {"is_due": "yes"}
    assert task.run(write_report, base=PlainExecutor) == 1
    assert "Output parameters: expected is_due. Received: none." in task.stderr


PLAIN = (
    "ann_index", "anomaly_gate", "candidate_indexer", "feature_schema", "retrieval_evaluator",
    "tower_pusher", "tower_trainer",
)  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "may_import"), [(PLAIN, set()), (("interaction_ingest",), {"apache_beam"})]
)
def test_pods_of_our_own_steps_import_nothing_of_tfx(steps, may_import):
    heavy = {"tfx", "tensorflow", "apache_beam", "kfp", "ml_metadata", "tensorflow_data_validation"}
    heavy -= may_import
    modules = ", ".join(f"components.{name}.executor" for name in steps)
    code = f"import sys, pipeline.kubeflow.entrypoint, {modules}; print(*sys.modules.keys() & {heavy})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_progress_is_visible(task, caplog):
    def report(self, inputs, outputs, properties):
        logging.getLogger(PROGRESS_LOGGER).info("epoch 1/2")
        write_report(self, inputs, outputs, properties)

    assert task.run(report) == 0, task.stderr
    assert "epoch 1/2" in caplog.text
