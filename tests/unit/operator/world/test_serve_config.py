"""Serve's config is always sent whole: what others have put there must come back as it was."""

from typing import Any

from recsys_operator.state.actions import DeployApp
from recsys_operator.world.ray_words import read_apps, serving_url
from recsys_operator.world.serve_config import app_config, changed, with_app, without
from recsys_schemas.serving_record import ServingArguments, ServingRecord

OTHER = {"name": "other", "route_prefix": "/other", "import_path": "a:b", "deployments": [{"name": "X", "user_config": {"n": None}}]}


def deploy(*, epoch: int = 1) -> DeployApp:
    arguments = ServingArguments(
        namespace="default",
        name="movies",
        uid="u",
        storage_uri="file:///s",
        bootstrap_servers=["b:1"],
        requests_topic="q",
        responses_topic="a",
        event_topics={},
        timeout_ms=100,
    )
    record = ServingRecord(epoch=epoch, salt="s", arms=[], tokens={})
    return DeployApp(name="default.movies", route_prefix="/movies", replicas=2, arguments=arguments, record=record)


def application(config: dict[str, Any], status: str = "RUNNING") -> dict[str, Any]:
    return {"name": config["name"], "status": status, "deployed_app_config": config, "deployments": {}}


def details(*applications: dict[str, Any]) -> dict[str, Any]:
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "127.0.0.1", "port": 8001},
        "target_capacity": None,
        "applications": {each["name"]: each for each in applications},
    }


def names(config: dict[str, Any]) -> list[str]:
    return [each["name"] for each in config["applications"]]


def test_another_application_is_sent_back_as_it_was() -> None:
    config = with_app(details(application(OTHER)), deploy(), http_options={"host": "head", "port": 8000})
    assert config["applications"] == [OTHER, app_config(deploy())]
    assert config["http_options"] == {"host": "127.0.0.1", "port": 8001}
    assert config["proxy_location"] == "EveryNode"
    assert "target_capacity" not in config


def test_an_ingress_that_never_ran_is_opened_where_we_say() -> None:
    assert with_app({"applications": {}}, deploy(), http_options={"port": 8000})["http_options"] == {"port": 8000}


def test_an_application_on_its_way_out_is_not_brought_back() -> None:
    going = application(OTHER, status="DELETING")
    assert names(with_app(details(going), deploy(), http_options={})) == ["default.movies"]
    assert names(without(details(going, application(app_config(deploy()))), "default.movies")) == []


def test_an_application_of_ours_that_is_going_is_sent_again() -> None:
    seen = details(application(app_config(deploy()), status="DELETING"))
    assert changed(seen, with_app(seen, deploy(), http_options={}))


def test_an_application_that_no_config_made_is_left_out_of_the_config() -> None:
    imperative = {"name": "script", "status": "RUNNING", "deployed_app_config": None}
    assert names(with_app(details(imperative), deploy(), http_options={})) == ["default.movies"]


def test_only_a_difference_is_sent() -> None:
    seen = details(application(OTHER), application(app_config(deploy())))
    assert not changed(seen, with_app(seen, deploy(), http_options={}))
    assert changed(seen, with_app(seen, deploy(epoch=2), http_options={}))
    assert not changed(seen, without(seen, "never"))
    assert changed(seen, without(seen, "other"))


def test_an_application_counts_as_running_only_when_its_deployment_has_taken_the_record() -> None:
    body = application(app_config(deploy()))
    replica = {"replica_id": "r1", "state": "RUNNING"}
    body["deployments"] = {"Recommender": {"status": "UPDATING", "replicas": [replica, {"replica_id": "r2", "state": "UPDATING"}]}}
    seen = read_apps(details(body))["default.movies"]
    assert (seen.word, seen.running_replicas, seen.replicas_wanted) == ("DEPLOYING", ("r1",), 2)
    assert (seen.record, seen.arguments) == (deploy().record, deploy().arguments)
    body["deployments"]["Recommender"]["status"] = "HEALTHY"
    assert read_apps(details(body))["default.movies"].word == "RUNNING"


def test_an_application_that_is_not_ours_has_no_record() -> None:
    seen = read_apps(details(application(OTHER)))["other"]
    assert (seen.record, seen.arguments, seen.route_prefix) == (None, None, "/other")


def test_the_ingress_is_on_the_dashboards_host_at_serves_port() -> None:
    assert serving_url(None, "http://head:8265", details()) == "http://head:8001"
    assert serving_url(None, "http://[::1]:8265", {}) == "http://[::1]:8000"
    assert serving_url("http://else:80/", "http://head:8265", details()) == "http://else:80"
