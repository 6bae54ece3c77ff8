import numpy as np
import pytest

from pipeline.config import load_config
from pipeline.recommend.similar import find_similar, render_similar
from schemas.errors import DataError

pytestmark = pytest.mark.unit


@pytest.fixture
def config(toy_serving):
    toy_serving.publish(6)
    return load_config(str(toy_serving.config))


def test_the_nearest_come_first_and_the_item_itself_does_not(config, toy_serving):
    # Of release 6 the vector of item i is row i.
    cosines = toy_serving.vectors @ toy_serving.vectors[4]
    nearest = [row for row in np.argsort(-cosines) if row != 4][:3]
    similar = find_similar(config, "a b", k=3)
    assert [item.item_id for item in similar.items] == [toy_serving.items[row] for row in nearest]
    assert [item.score for item in similar.items] == pytest.approx(cosines[nearest].tolist(), abs=1e-6)
    text = render_similar(similar)
    assert text.startswith("Nearest to A and B (")
    assert "from release 6" in text
    assert toy_serving.titles[nearest[0]] in text


def test_an_item_that_the_release_lacks_is_refused(config):
    with pytest.raises(DataError, match=r"expected an item of release 6\. Received: '99', .* its 6"):
        find_similar(config, "99", k=3)
