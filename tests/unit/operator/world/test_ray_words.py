import json

from recsys_operator.world.kube import Json
from recsys_operator.world.ray_words import last_words, read_apps


def test_of_structured_logs_the_last_error_is_told_and_nothing_round_it():
    lines = [
        "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars):",
        json.dumps({"event": "session failed", "error": "an older one"}),
        json.dumps({"event": "refused", "error": "storageURI: 's3://b' cannot be written"}),
        json.dumps({"event": "stopped"}),
        "(Consuming pid=7) some words",
    ]
    assert last_words("\n".join(lines)) == "storageURI: 's3://b' cannot be written"


def test_words_without_structure_are_told_whole():
    assert last_words(" no such snapshot\n") == "no such snapshot"
    assert last_words("3\n[1]\nnull") == "3\n[1]\nnull"


SECRET = "ray_apps.stores.secrets.SecretsError: spec.kafka.security.caSecretRef: $RECSYS_SECRETS/shop/kafka/ca.crt: No such file"


def details(status: str, message: str, deployment: dict[str, str] | None = None) -> Json:
    """What Ray answers to `GET /api/serve/applications/`, as far as it matters here."""
    deployments = {"Recommender": deployment | {"replicas": []}} if deployment else {}
    return {"applications": {"shop.movies": {"status": status, "message": message, "deployments": deployments}}}


def test_why_a_replica_does_not_start_is_told_and_not_only_that_it_does_not():
    why = f"The deployment failed to start 3 times in a row. Error:\nTraceback (most recent call last):\n  ...\n{SECRET}"
    answer = details("DEPLOY_FAILED", "Failed to update the deployments ['Recommender'].", {"status": "DEPLOY_FAILED", "message": why})
    app = read_apps(answer)["shop.movies"]
    assert (app.word, app.message.splitlines()[-1]) == ("DEPLOY_FAILED", SECRET)


def test_an_application_that_cannot_be_built_says_itself_why():
    built = read_apps(details("DEPLOY_FAILED", "No module named 'no_such_module'"))["shop.movies"]
    assert built.message == "No module named 'no_such_module'"
    earlier = {"status": "HEALTHY", "message": "The one before goes on."}
    changed = read_apps(details("DEPLOY_FAILED", "No module named 'no_such_module'", earlier))["shop.movies"]
    assert changed.message == "No module named 'no_such_module'"
