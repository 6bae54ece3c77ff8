import pytest

from schemas.warmup import write_warmup_requests

pytestmark = pytest.mark.unit


def test_requests_fit_the_signature(tmp_path):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    module = tf.Module()
    module.call = tf.function(
        lambda age, tags, look, k: {"embedding": look},
        input_signature=[
            tf.TensorSpec([None], tf.int64, name="age"),
            tf.TensorSpec([None, None], tf.string, name="tags"),
            tf.TensorSpec([None, 2, 3], tf.float32, name="look"),
            tf.TensorSpec([None], tf.int32, name="k"),
        ],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    write_warmup_requests(str(tmp_path), "some_tower", {"k": 10})

    file = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    logs = map(
        prediction_log_pb2.PredictionLog.FromString, tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    )
    requests = [log.predict_log.request for log in logs]
    assert {(one.model_spec.name, one.model_spec.signature_name) for one in requests} == {
        ("some_tower", "serving_default")
    }
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for request, rows in zip(requests, (1, 8), strict=True):
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        assert served(**inputs)["embedding"].shape == (rows, 2, 3)
        assert inputs["tags"].numpy().tolist() == [[b""]] * rows
        assert inputs["k"].numpy().tolist() == [10] * rows
        assert inputs["age"].dtype == tf.int64
