"""What a newer release has added, as an older operator reads it: definitions and replicas may be of the next release already."""

import pytest

from recsys_operator.world.kube import Json
from recsys_operator.world.objects import UnreadableError, read_model, read_rollout
from recsys_operator.world.ray_words import read_apps
from recsys_schemas.serving_record import ServingRecord

SPEC: Json = {"ray": {"dashboardURL": "http://ray:8265"}, "kafka": {"bootstrapServers": ["kafka:9092"]}}
METADATA: Json = {"name": "movies", "namespace": "shop", "uid": "8a7d3f1e-0", "generation": 3}


def body(spec: Json, status: Json) -> Json:
    return {"kind": "RecommenderModel", "metadata": METADATA, "spec": spec, "status": status}


def test_a_field_that_only_a_newer_definition_has_is_left_alone():
    known = read_model(body(SPEC | {"suspend": True}, {"phase": "Suspended"}), "file:///x")
    newer = SPEC | {"suspend": True, "nickname": "films", "serving": {"mood": {"calm": True}}}
    assert read_model(body(newer, {"phase": "Suspended", "moods": [{"name": "calm"}]}), "file:///x") == known


def test_a_value_that_this_operator_does_not_know_is_still_told_by_its_field():
    with pytest.raises(UnreadableError, match=r"spec\.model\.algorithm: .*seen 'Oracle'"):
        read_model(body(SPEC | {"nickname": "films", "model": {"algorithm": "Oracle"}}, {}), "file:///x")


def test_a_rollout_that_a_newer_operator_began_is_read():
    spec: Json = {"modelRef": {"name": "movies", "uid": "8a"}, "candidate": {"name": "movies-2", "digest": "sha256:02"}}
    walk: Json = {"steps": [{"setWeight": 5, "mood": "calm"}], "analysis": {"omens": 3}}
    assert read_rollout({"metadata": METADATA, "spec": spec | walk, "status": {"step": 0, "omen": "good"}}).status.step == 0


def test_the_epoch_that_a_newer_operator_asked_for_is_known_so_that_the_next_one_is_greater():
    record = ServingRecord(epoch=41, salt="s", arms=[], tokens={}).model_dump(mode="json")
    deployment = {"name": "Recommender", "user_config": record | {"mood": "calm"}}
    app: Json = {"status": "RUNNING", "message": "", "deployed_app_config": {"deployments": [deployment]}, "deployments": {}}
    read = read_apps({"applications": {"shop.movies": app}})["shop.movies"].record
    assert read is not None
    assert read.epoch == 41
