"""Cutting a part out of a transform graph, here one made by hand with the shape of TFT's."""

import pytest
import tensorflow as tf

from trainer.data.transform_part import TransformPart

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """Looks up colour and size in a vocabulary each; `both` depends on the two."""
    directory = tmp_path_factory.mktemp("graph")
    module = tf.Module()
    module.resources = []
    tables = {}
    for name, lines in (("colour", "red\nblue\n"), ("size", "s\nm\nl\n")):
        path = directory / f"{name}_vocabulary"
        path.write_text(lines)
        initializer = tf.lookup.TextFileInitializer(
            str(path),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        tables[name] = tf.lookup.StaticHashTable(initializer, -1)
        module.resources.append(tables[name])

    def transform(inputs):
        colour = tables["colour"].lookup(inputs["colour"])
        sizes = tf.SparseTensor(
            inputs["size"].indices, tables["size"].lookup(inputs["size"].values), inputs["size"].dense_shape
        )
        count = tf.sparse.reduce_sum(sizes, axis=1)
        return {"colour": colour, "size": sizes, "both": colour + count}

    specs = {"colour": tf.TensorSpec([None], tf.string), "size": tf.SparseTensorSpec([None, None], tf.string)}
    module.transform_fn = tf.function(transform).get_concrete_function(specs)
    tf.saved_model.save(module, str(directory / "saved"))
    return tf.saved_model.load(str(directory / "saved"))


def save_and_load(part, specs, directory):
    module = tf.Module()
    module.tables = part.tables
    signature = tf.function(lambda **raw: part(raw)).get_concrete_function(**specs)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": signature})
    assets = sorted(path.name for path in (directory / "assets").iterdir())
    return tf.saved_model.load(str(directory)).signatures["serving_default"], assets


def test_part_computes_its_outputs_and_keeps_only_its_vocabulary(graph, tmp_path):
    part = TransformPart(graph, ["colour"], ["colour"])
    signature, assets = save_and_load(part, {"colour": tf.TensorSpec([None], tf.string, "colour")}, tmp_path)
    assert assets == ["colour_vocabulary"]
    assert signature(colour=tf.constant(["blue", "red", "green"]))["colour"].numpy().tolist() == [1, 0, -1]


def test_part_takes_sparse_inputs(graph):
    part = TransformPart(graph, ["size"], ["size"])
    look_up = tf.function(lambda dense: part({"size": tf.sparse.from_dense(dense)})["size"])
    sparse = look_up(tf.constant([["l", ""], ["s", "m"]]))
    assert tf.sparse.to_dense(sparse, -7).numpy().tolist() == [[2, -7], [0, 1]]


def test_refuses_an_output_that_needs_another_input(graph):
    with pytest.raises(
        ValueError, match=r"\['both'\] to follow from \['colour'\]. They also need \['size'\]"
    ):
        TransformPart(graph, ["colour"], ["both"])
