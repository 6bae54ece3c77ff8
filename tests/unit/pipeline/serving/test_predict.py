import base64
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.serving.errors import RequestError
from pipeline.serving.limits import Limits
from pipeline.serving.models import Tensor
from pipeline.serving.predict import read_prediction, render_prediction, to_array

pytestmark = pytest.mark.unit

TEXT, WHOLE, REAL = np.dtype(object), np.dtype(np.int64), np.dtype(np.float32)
INPUTS = {"age": Tensor(WHOLE, (None,)), "tags": Tensor(TEXT, (None, None)), "taste": Tensor(REAL, (None, 2))}
LIMITS = Limits(rows=3, k=5)


class Model:
    """A model whose signatures have these inputs."""

    def __init__(self, name="user_tower", **signatures):
        self.name = name
        self.signatures = {key: SimpleNamespace(inputs=inputs) for key, inputs in signatures.items()}

    def find_signature(self, name):
        return self.signatures[name]


MODEL = Model(serving_default=INPUTS, serving_examples={"examples": Tensor(TEXT, (None,))})


def read(content, model=MODEL):
    return read_prediction(json.dumps(content).encode(), model, LIMITS)


ROW = {"age": 3, "tags": ["a", {"b64": base64.b64encode(b"\xff").decode()}], "taste": [0.5, 1]}


@pytest.mark.parametrize(
    "content",
    [
        {"instances": [ROW, ROW | {"age": 4}]},
        {"inputs": {"age": [3, 4], "tags": [ROW["tags"]] * 2, "taste": [[0.5, 1]] * 2}, "signature_name": ""},
    ],
)
def test_both_formats_give_the_same_arrays(content):
    prediction = read(content)
    assert prediction.signature == "serving_default"
    assert prediction.is_row_format == ("instances" in content)
    assert {name: array.tolist() for name, array in prediction.arrays.items()} == {
        "age": [3, 4],
        "tags": [[b"a", b"\xff"]] * 2,
        "taste": [[0.5, 1.0]] * 2,
    }
    assert prediction.arrays["age"].dtype == np.int64
    assert prediction.arrays["taste"].dtype == np.float32


@pytest.mark.parametrize(
    "content",
    [{"instances": ["x", {"b64": "eQ=="}]}, {"instances": [{"examples": "x"}, {"examples": {"b64": "eQ=="}}]},
     {"instances": [{"b64": "eA=="}, "y"]}, {"inputs": ["x", "y"]}, {"inputs": {"examples": ["x", "y"]}}],
)  # fmt: skip
def test_the_only_input_needs_no_name(content):
    prediction = read(content | {"signature_name": "serving_examples"})
    assert prediction.arrays["examples"].tolist() == [b"x", b"y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "Expected a JSON object with 'instances' or 'inputs'"),
        ({}, "either 'instances' or 'inputs'. Received: neither"),
        ({"instances": [ROW], "inputs": {}}, "Received: both"),
        ({"instance": [ROW]}, "Received: 'instance'"),
        ({"instances": [ROW], "signature_name": 3}, "signature_name: expected a text"),
        ({"instances": []}, "at least one row. Received: an empty list"),
        ({"instances": {}}, "at least one row. Received: another value"),
        ({"instances": [3]}, "a value for each of age, tags, taste, by name"),
        ({"instances": [ROW, 3]}, r"instances\[1\]: expected an object"),
        ({"instances": [ROW, {"age": 3, "sex": 1}]}, r"instances\[1\].*Received: no tags, taste and 'sex'"),
        ({"inputs": {"age": [3]}}, "inputs: expected the inputs age, tags, taste. Received: no tags, taste"),
        ({"instances": [ROW] * 4}, "age: expected at most 3 rows. Received: 4"),
        ({"inputs": {"age": [3], "tags": [[], []], "taste": [[1, 2]]}}, "as many rows.*age 1, tags 2"),
        ({"instances": [ROW, ROW | {"tags": []}]}, "tags: expected lists of one length.*lists of 0 and of 2"),
    ],
)
def test_requests_that_do_not_fit_are_told_why(content, message):
    with pytest.raises(RequestError, match=message) as caught:
        read(content)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"inputs": "\\ud800"}', b"[" * 100_000])
def test_a_body_that_is_no_json(body):
    with pytest.raises(RequestError, match="Expected a body of JSON"):
        read_prediction(body, MODEL, LIMITS)


@pytest.mark.parametrize("k", [0, 6, -(2**31)])
def test_the_retriever_gives_no_more_than_the_limit(k):
    model = Model("retriever", serving_default={"k": Tensor(np.dtype(np.int32), (None,))})
    assert read({"inputs": [5, 1]}, model).arrays["k"].tolist() == [5, 1]
    with pytest.raises(RequestError, match=f"k: expected numbers from 1 to 5. Received: {k}"):
        read({"inputs": [5, k]}, model)


@pytest.mark.parametrize(
    ("value", "tensor", "message"),
    [
        (3, Tensor(WHOLE, (None,)), r"shape \[any\]. Received: \[\]"),
        ([[1, 2, 3]], Tensor(REAL, (None, 2)), r"shape \[any, 2\]. Received: \[1, 3\]"),
        ([[1], 2], Tensor(WHOLE, (None, 1)), "lists of one depth"),
        ([], Tensor(WHOLE, (None,)), "at least one row"),
        ([1.5], Tensor(WHOLE, (None,)), "whole numbers. Received: 1.5"),
        ([True], Tensor(REAL, (None,)), "numbers. Received: a boolean"),
        ([None], Tensor(REAL, (None,)), "numbers. Received: null"),
        (["1"], Tensor(REAL, (None,)), "numbers. Received: a text"),
        ([2**63], Tensor(WHOLE, (None,)), "numbers of int64. Received: a larger one"),
        ([2**31], Tensor(np.dtype(np.int32), (None,)), "numbers of int32. Received: 2147483648"),
        ([10**400], Tensor(REAL, (None,)), "numbers of float32. Received: a larger one"),
        ([1e39], Tensor(REAL, (None,)), r"numbers of float32. Received: 1e\+39"),
        ([3], Tensor(TEXT, (None,)), "expected texts, or .*Received: 3"),
        ([{"b64": "?"}], Tensor(TEXT, (None,)), "expected base64"),
        ([{"b64": "eA==", "x": 1}], Tensor(TEXT, (None,)), "expected texts, or .*Received: an object"),
    ],
)
def test_values_that_do_not_fit_are_told_why(value, tensor, message):
    with pytest.raises(RequestError, match=f"x: .*{message}"):
        to_array(value, tensor, "x")


def test_values_that_are_no_numbers_pass_as_tensorflow_serving_lets_them():
    model = Model(serving_default={"x": Tensor(REAL, (None,))})
    prediction = read_prediction(b'{"inputs": [NaN, -Infinity]}', model, LIMITS)
    assert np.isnan(prediction.arrays["x"][0])
    assert prediction.arrays["x"][1] == -np.inf


def test_answers_have_the_form_of_the_request():
    scores = np.array([[1.0, -np.inf], [0.5, 0.25]], np.float32)
    ids = np.array([[b"a", b""], [b"b", b"\xff"]], object)
    outputs = {"item_ids": ids, "scores": scores}
    assert json.loads(render_prediction(outputs, is_row_format=True)) == {
        "predictions": [
            {"item_ids": ["a", ""], "scores": [1.0, -np.inf]},
            {"item_ids": ["b", {"b64": "/w=="}], "scores": [0.5, 0.25]},
        ]
    }
    assert re.search(rb"\[1\.0,-Infinity\]", render_prediction(outputs, is_row_format=True))
    columns = json.loads(render_prediction({"item_ids": ids, "n": np.array([3, 4])}, is_row_format=False))
    assert columns == {"outputs": {"item_ids": [["a", ""], ["b", {"b64": "/w=="}]], "n": [3, 4]}}
    embedding = {"embedding": np.array([[0.5, 1.0]], np.float32)}
    assert json.loads(render_prediction(embedding, is_row_format=True)) == {"predictions": [[0.5, 1.0]]}
    assert json.loads(render_prediction(embedding, is_row_format=False)) == {"outputs": [[0.5, 1.0]]}
    texts = {"raw_bytes": np.array([b"a"], object)}
    assert json.loads(render_prediction(texts, is_row_format=True)) == {"predictions": [{"b64": "YQ=="}]}
