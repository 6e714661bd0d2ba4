"""Rows for the tests of admission: places that could not be told of anything."""

from typing import Any

from tests.kube.admission_rows import Broken, rm

AT = "spec.notifications"


def hook(*says: str, breaks: str, **fields: Any) -> Broken:
    """One place."""
    return rm(AT, [{"name": "ops"} | fields], *says, breaks=f"{AT}[]{breaks}")


URL = "https://hooks.example/x"

TOLD = {
    "a place without an address": hook(
        "notification ops: set exactly one of url, urlSecretRef, seen none", breaks="#set exactly one of url, urlSecretRef"
    ),
    "a place with two addresses": hook(
        "notification ops: set exactly one of url, urlSecretRef, seen both",
        url=URL,
        urlSecretRef={"name": "hooks", "key": "ops"},
        breaks="#set exactly one of url, urlSecretRef",
    ),
    "a signature for a chat": hook(
        "notification ops: format Slack is not signed: remove hmacSecretRef",
        url=URL,
        format="Slack",
        hmacSecretRef={"name": "hooks", "key": "hmac"},
        breaks="#hmacSecretRef belongs to format JSON",
    ),
    "a place in capitals": hook(f"{AT}[0].name", '"Ops"', name="Ops", url=URL, breaks=".name#pattern"),
    "an address without a scheme": hook(f"{AT}[0].url", '"hooks"', "^https?://", url="hooks", breaks=".url#pattern"),
    "an address in no Secret's name": hook(
        f"{AT}[0].urlSecretRef.name", '"../x"', urlSecretRef={"name": "../x", "key": "k"}, breaks=".urlSecretRef.name#pattern"
    ),
    "an address under no key's name": hook(
        f"{AT}[0].urlSecretRef.key", '".."', urlSecretRef={"name": "hooks", "key": ".."}, breaks=".urlSecretRef.key#pattern"
    ),
    "a key of a signature in no Secret's name": hook(
        f"{AT}[0].hmacSecretRef.name", url=URL, hmacSecretRef={"name": "../x", "key": "k"}, breaks=".hmacSecretRef.name#pattern"
    ),
    "a key of a signature under no key's name": hook(
        f"{AT}[0].hmacSecretRef.key", url=URL, hmacSecretRef={"name": "hooks", "key": ".."}, breaks=".hmacSecretRef.key#pattern"
    ),
    "an occasion that never comes": rm(AT, [{"name": "ops", "url": URL, "on": ["Trained"]}], f"{AT}[0].on[0]", '"Trained"'),
}
