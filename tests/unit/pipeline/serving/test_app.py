import json
import re

import numpy as np
import pytest

from pipeline.serving.limits import Limits
from pipeline.serving.recommending import RecommendRequest

pytestmark = pytest.mark.unit


def ids(answer):
    return [item["item_id"] for item in answer["items"]]


def test_recommendations_of_a_release(toy_serving, serve):
    toy_serving.publish(7)
    served = serve()
    best, scores = toy_serving.best, toy_serving.scores(7, "10", "11", "a b")

    # A known user: the whole history, also what is in no split.
    answer = served.recommend(user="1", k=2)
    assert answer == served.client.get("/recommend?user=1&k=2").json()
    first = best(7, "10", "11", "a b")[0]
    row = toy_serving.items.index(first)
    assert answer["release"] == 7
    assert answer["user"] == "1"
    assert answer["features"] == {"age": 20, "gender": "F", "tags": ["u", "v"], "taste": [0.25, 1.0]}
    assert [item["item_id"] for item in answer["history"]] == ["a b", "11", "10"]
    assert answer["history"][1]["display"] == {"title": "Eleven", "year": 2011}
    assert answer["notes"] == []
    assert ids(answer) == best(7, "10", "11", "a b")[:2]
    assert answer["items"][0] == {
        "rank": 1,
        "item_id": first,
        "score": pytest.approx(scores[row], abs=1e-6),
        "display": {"title": toy_serving.titles[row], "year": [2010, 2011, 2012, 2013, None, 2015][row]},
    }

    # Exclusions, a filter, and both; the retriever filters by genres.
    assert ids(served.recommend(user="1", exclude=[first, "no such"])) == best(
        7, "10", "11", "a b", without=[first]
    )
    has_x = {
        item for item, genres in zip(toy_serving.items, toy_serving.genres, strict=True) if "x" in genres
    }
    assert ids(served.recommend(user="2", filter=["x", "z"])) == [i for i in best(7, "12") if i in has_x]
    answer = served.client.get("/recommend?user=2&filter=x&exclude=10&exclude=c,d&k=5").json()
    assert ids(answer) == [i for i in best(7, "12") if i in has_x - {"10", "c,d"}]

    # Somebody never seen; what is given takes the place of what is known, and both are left out.
    answer = served.recommend(features={"age": 3}, history=["10", "no such", "12"], k=10)
    assert ids(answer) == best(7, "10", "12")
    assert answer["features"] == {"age": 3, "gender": "", "tags": [], "taste": [0.5, 0.5]}
    assert answer["notes"][0] == (
        "1 of the 3 items of the history are not in the catalogue and were left out: no such."
    )
    assert answer["notes"][-1] == "Only 4 items are left of the 6 in the catalogue."
    assert ids(served.recommend(user="2", history=["10"])) == best(7, "10", without=["12"])
    answer = served.recommend(user="21")
    assert answer["features"]["age"] == 30
    assert "age is not known: the median of all users, 30, was used. features.age sets it." in answer["notes"]
    assert len(answer["items"]) == 6
    assert served.recommend(user="ü")["history_length"] == 2


def test_a_list_of_as_many_entries_as_are_allowed_is_answered(served_once):
    content = {
        "history": ["12"] * 20,
        "seconds": [1] * 20,
        "exclude": ["10"] * 20,
        "filter": ["x"] * 20,
        "features": {"age": 1, "tags": ["u"] * 20},
    }
    # Of the items 10, 12 and "c,d" that have x, one is excluded and one is in the history.
    assert ids(served_once.recommend(**content)) == ["c,d"]


def test_an_item_is_left_out_once_however_often_it_is_named(toy_serving, serve):
    toy_serving.publish(7)
    recommender = serve().watcher.engine.recommender
    # Excluded are the rows 0 and 2; user 1 had 10, 11 and "a b", and 11 and 13 are given.
    request = RecommendRequest(user="1", history=("11", "13"), exclude=("12", "10", "12", "10"), k=1)
    assert recommender.ask(request).query.excluded.tolist() == [0, 1, 2, 3, 4]
    request = RecommendRequest(user="2", exclude=("10",) * 1000, k=1)
    assert recommender.ask(request).query.excluded.tolist() == [0, 2]


def test_with_every_item_a_candidate_nothing_is_left_out(toy_serving, serve):
    toy_serving.publish(7, retriever=False)
    served = serve(overrides=("evaluation.candidates=all",))
    assert len(ids(served.recommend(user="1"))) == 6
    assert ids(served.recommend(user="2", exclude=["12"])) == toy_serving.best(7, "12")


@pytest.mark.parametrize("retriever", [True, False])
def test_a_release_of_an_earlier_program_answers_the_same(toy_serving, serve, retriever):
    toy_serving.publish(7, retriever=retriever, users=retriever)
    served = serve()
    assert ids(served.recommend(history=["12", "13"], features={"age": 1})) == toy_serving.best(7, "12", "13")
    if not retriever:
        answer = served.recommend(404, user="1")
        assert "release 7 came without its users. Received: '1'" in answer["error"]
        assert "this release has no filter" in served.recommend(400, history=["10"], filter=["x"])["error"]
        assert served.client.get("/users").json()["users"] == []
        assert served.client.get("/v1/models/retriever").status_code == 404


@pytest.mark.parametrize("parts", [{"retriever": False}, {"retriever": False, "ann": True}, {"ann": True}])
def test_features_that_overflow_are_refused_whatever_ranks(toy_serving, serve, parts):
    toy_serving.publish(7, **parts)
    toy_serving.overflow(7, "1")
    served = serve()
    assert served.recommend(400, user="1")["error"] == (
        "features: expected values that the model gives a score for. Received: values that overflow in it. "
        "Look for extreme numbers."
    )
    assert "overflow" in served.recommend(400, features={"taste": [1e30, 0], "age": 1})["error"]
    assert ids(served.recommend(user="2")) == toy_serving.best(7, "12")


def test_users_items_and_what_is_like_an_item(toy_serving, serve):
    toy_serving.publish(7)
    client = serve().client
    assert client.get("/users").json()["users"] == ["1", "2", "21", "ü"]
    assert client.get("/users?prefix=2").json()["users"] == ["2", "21"]
    assert client.get("/users?prefix=2&limit=1").json()["users"] == ["2"]
    assert client.get("/users?prefix=3").json()["users"] == []
    assert ids(client.get("/items?query=1").json()) == ["10", "11", "12", "13"]
    assert ids(client.get("/items?query=EN").json()) == ["10", "11", "13", "c,d"]
    assert ids(client.get("/items?limit=2").json()) == ["10", "11"]
    similar = client.get("/similar?item=12&k=3").json()
    vectors = np.roll(toy_serving.vectors, -7, axis=0)
    scores = vectors @ vectors[2]
    order = [row for row in np.argsort(-scores, kind="stable") if row != 2][:3]
    assert similar["item"] == {"item_id": "12", "display": {"title": "Twelve", "year": 2012}}
    assert ids(similar) == [toy_serving.items[row] for row in order]
    assert [item["score"] for item in similar["items"]] == pytest.approx(scores[order].tolist(), abs=1e-6)
    assert client.get("/similar?item=no such").status_code == 404


def test_models_speak_the_protocol_of_tensorflow_serving(toy_serving, serve):
    toy_serving.publish(7)
    client = serve().client
    vectors = np.roll(toy_serving.vectors, -7, axis=0)
    answer = client.post("/v1/models/item_tower:predict", json={"instances": ["11", "c,d"]})
    np.testing.assert_allclose(answer.json()["predictions"], vectors[[1, 5]], atol=1e-6)
    assert answer.headers["content-type"] == "application/json"
    answer = client.post("/v1/models/item_tower/versions/7:predict", json={"inputs": {"item_id": ["11"]}})
    np.testing.assert_allclose(answer.json()["outputs"], vectors[[1]], atol=1e-6)
    row = {"age": 1, "gender": "F", "tags": ["u"], "taste": [0, 1], "history": ["", "10", "12"]}
    embedding = client.post("/v1/models/user_tower:predict", json={"instances": [row]}).json()["predictions"][
        0
    ]
    np.testing.assert_allclose(vectors @ embedding, toy_serving.scores(7, "10", "12"), atol=1e-5)
    asked = row | {"exclude": ["11"], "filter": [""], "k": 4}
    [found] = client.post("/v1/models/retriever:predict", json={"instances": [asked]}).json()["predictions"]
    best = toy_serving.best(7, "10", "12", without=["11"])
    assert found["item_ids"] == [*best, *[""] * (4 - len(best))]
    assert found["version"] == 7

    state = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert client.get("/v1/models/retriever").json() == {"model_version_status": [state]}
    assert client.get("/v1/models/retriever/versions/7").json() == {"model_version_status": [state]}
    metadata = client.get("/v1/models/item_tower/versions/7/metadata").json()
    assert metadata["model_spec"] == {"name": "item_tower", "signature_name": "", "version": "7"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["item_id"]["dtype"] == "DT_STRING"
    assert signature["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/recommend", {}, 400, "Expected a user, or features or a history"),
        ("POST", "/recommend", [], 400, "Expected a JSON object"),
        ("POST", "/recommend", b"{", 400, "Expected a body of JSON"),
        ("POST", "/recommend", b'{"user": "\\ud800"}', 400, "Expected a body of JSON"),
        ("POST", "/recommend", {"user": 1}, 400, "user"),
        ("POST", "/recommend", {"usr": "1"}, 400, "'usr'.*did you mean 'user'"),
        ("POST", "/recommend", {"user": "1", "k": 0}, 400, "k: "),
        ("POST", "/recommend", {"user": "1", "k": 6}, 400, "k: expected at most 5. Received: 6"),
        ("GET", "/similar?item=10&k=6", None, 400, "k: expected at most 5. Received: 6"),
        ("POST", "/recommend", {"user": "99"}, 404, "Received: '99', who is not among its 4"),
        ("POST", "/recommend", {"history": ["10"], "seconds": [1, 2]}, 400, "one for each of the 1 items"),
        (
            "POST",
            "/recommend",
            {"user": "1", "exclude": ["1"] * 21},
            400,
            "^exclude: expected at most 20 entries. Received: 21. .*--max-list",
        ),
        ("GET", f"/recommend?user=1{'&exclude=1' * 21}", None, 400, "^exclude: .*at most 20.*: 21"),
        ("POST", "/recommend", {"history": ["10"] * 21}, 400, "^history: .*at most 20.*: 21"),
        ("POST", "/recommend", {"user": "1", "seconds": [1] * 21}, 400, "^seconds: .*at most 20.*: 21"),
        ("POST", "/recommend", {"user": "1", "filter": ["x"] * 21}, 400, "^filter: .*at most 20.*: 21"),
        ("POST", "/recommend", {"features": {"tags": ["u"] * 21}}, 400, "^features.tags: .*at most 20.*: 21"),
        ("POST", "/recommend", {"features": {"aeg": 1}}, 400, "features.aeg: .*did you mean 'age'"),
        ("POST", "/recommend", {"features": {"age": "1"}}, 400, "features.age: expected a whole number"),
        ("POST", "/recommend", {"features": {"age": True}}, 400, "Received: a boolean"),
        ("POST", "/recommend", {"features": {"age": 121}}, 400, "from 0 to 120. Received: 121"),
        ("POST", "/recommend", {"features": {"gender": "X"}}, 400, "expected one of"),
        ("POST", "/recommend", {"features": {"tags": "u"}}, 400, "a list of texts. Received: a text"),
        (
            "POST",
            "/recommend",
            {"features": {"taste": [1]}},
            400,
            "a list of 2 numbers. Received: a list of 1",
        ),
        ("POST", "/recommend", {"features": {"taste": [1e39, 0]}}, 400, "Received: 1e\\+39"),
        (
            "POST",
            "/recommend",
            {"features": {"taste": [1e30, 0], "age": 1}, "history": ["10"]},
            400,
            "overflow",
        ),
        ("POST", "/recommend", {"features": {"user_id": "1"}}, 400, "is named with 'user'"),
        ("GET", "/recommend?user=1&k=x", None, 400, "k: expected a whole number"),
        ("GET", "/recommend", None, 400, "Expected the parameter 'user'"),
        ("GET", "/similar?item=1&what=2", None, 400, "Received: 'what'"),
        ("GET", "/nothing", None, 404, "Received: '/nothing'"),
        ("DELETE", "/recommend", None, 405, "Received: DELETE"),
        (
            "POST",
            "/v1/models/tower:predict",
            {"instances": [1]},
            404,
            "one of user_tower, item_tower, retriever",
        ),
        ("POST", "/v1/models/item_tower/versions/6:predict", {"instances": ["1"]}, 404, "expected version 7"),
        ("GET", "/v1/models/item_tower/versions/6", None, 404, "expected version 7"),
        ("POST", "/v1/models/item_tower:predict", {"instances": [1]}, 400, "item_id: expected texts"),
        ("POST", "/v1/models/item_tower:predict", {"inputs": ["1"] * 9}, 400, "at most 8 rows. Received: 9"),
        (
            "POST",
            "/v1/models/item_tower:predict",
            {"inputs": ["1"], "signature_name": "x"},
            400,
            "serving_default",
        ),
        ("POST", "/v1/models/item_tower:predict", b" " * 3000, 413, "at most 2,000 bytes"),
    ],
)
def test_what_is_wrong_with_a_request_is_told(served_once, method, path, body, status, message):
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = served_once.client.request(method, path, **sent)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    assert re.search(message, answer.json()["error"]), answer.text


@pytest.fixture(scope="module")
def served_once(tmp_path_factory, make_toy_serving, serve_toy):
    toy_serving = make_toy_serving(tmp_path_factory.mktemp("served"))
    toy_serving.publish(7)
    return serve_toy(toy_serving, Limits(body_bytes=2000, rows=8, k=5, list_entries=20))


def test_without_a_release_nothing_answers_but_the_server_lives(toy_serving, serve):
    served = serve()
    assert served.client.get("/healthz").status_code == 200
    for path in ("/readyz", "/recommend?user=1", "/similar?item=1", "/v1/models/user_tower", "/release"):
        answer = served.client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "`dssm run` writes one" in answer.json()["error"]
    toy_serving.publish(1)
    served.look()
    assert served.client.get("/readyz").json() == {"status": "ready", "release": 1}


def test_a_mixed_release_is_refused_and_the_old_one_goes_on_answering(toy_serving, serve, caplog):
    toy_serving.publish(1)
    served = serve()
    toy_serving.publish(2, mixed=True)
    for _ in range(3):
        served.look()
    assert ids(served.recommend(user="2")) == toy_serving.best(1, "12")
    refused = served.client.get("/release").json()["refused"]
    assert refused["version"] == 2
    assert "comes from another training" in refused["reason"]
    figures = served.client.get("/metrics").text
    assert "dssm_release 1.0" in figures
    assert "dssm_wanted_release 2.0" in figures
    assert "dssm_failed_reloads_total 3.0" in figures
    # Whoever mends it, by a release or by going back, is followed.
    toy_serving.publish(3)
    served.look()
    answer = served.recommend(user="2")
    assert (answer["release"], ids(answer)) == (3, toy_serving.best(3, "12"))
    assert served.client.get("/release").json()["refused"] is None
    toy_serving.roll_back(1, over=3)
    served.look()
    assert served.recommend(user="2")["release"] == 1
    toy_serving.publish(4)
    served.look()
    assert served.recommend(user="2")["release"] == 4


def test_what_is_not_a_released_retriever_is_refused(toy_serving, serve):
    toy_serving.publish(1)
    served = serve()
    toy_serving.publish(2)
    (toy_serving.directory / "retriever/2/assets/release_version.txt").write_text("1")
    served.look()
    assert served.watcher.engine.version == 1
    assert "expected 2, the version of the release. Received: '1'" in served.watcher.refusal.reason


def test_a_configuration_of_another_schema_is_refused(toy_serving, serve):
    toy_serving.publish(1, users=False)
    file = toy_serving.config.with_name("schema.yaml")
    file.write_text(file.read_text().replace("name: gender", "name: sex"))
    served = serve()
    assert "reads ['gender'], which" in served.watcher.refusal.reason


def test_requests_are_counted_by_route_and_status(toy_serving, serve):
    toy_serving.publish(1)
    client = serve().client
    for path in ("/recommend?user=1", "/recommend?user=1", "/recommend?user=no", "/made/up", "/made/up/2"):
        client.get(path)
    figures = client.get("/metrics").text
    assert 'dssm_requests_total{route="/recommend",status="200"} 2.0' in figures
    assert 'dssm_requests_total{route="/recommend",status="404"} 1.0' in figures
    assert 'dssm_requests_total{route="other",status="404"} 2.0' in figures
    assert 'dssm_request_seconds_count{route="/recommend"} 3.0' in figures
    assert "dssm_batch_queries_count 2.0" in figures


def test_the_description_names_every_route_and_what_it_takes(toy_serving, serve):
    document = serve().client.get("/openapi.json").json()
    assert {
        "/recommend",
        "/similar",
        "/users",
        "/items",
        "/release",
        "/healthz",
        "/readyz",
        "/metrics",
    } < set(document["paths"])
    body = document["paths"]["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"user", "features", "history", "seconds", "k", "exclude", "filter"}
    predict = document["paths"]["/v1/models/{name}/versions/{version}:predict"]["post"]
    names = [parameter["name"] for parameter in predict["parameters"]]
    assert names == ["name", "version"]
    assert "422" not in json.dumps(document)
