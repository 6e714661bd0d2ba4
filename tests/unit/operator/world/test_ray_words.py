import json

from recsys_operator.world.ray_words import last_words


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
