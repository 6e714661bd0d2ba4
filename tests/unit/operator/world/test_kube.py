"""What the client of the Kubernetes API makes of answers that no API server would give: something stands in between."""

import pytest

from recsys_dev.ports import free_ports
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import ConflictError, Kube
from unit.operator.world.between import answering, speak


@pytest.mark.parametrize("body", [b"[1, 2]", b"\xff<html>sign in</html>"])
def test_an_answer_that_is_no_object_is_tried_again_and_told_in_words(body: bytes) -> None:
    with answering({"/page": (200, body)}) as url, pytest.raises(UnavailableError, match=r"which is no object; see what stands between"):
        speak(url, lambda kube: kube.get("/page"))


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (409, b'{"message": "it has changed"}', ConflictError, "409 it has changed"),
        (403, b'{"message": "not you"}', RefusedError, "403 not you"),
        (301, b"[]", RefusedError, r"301 \[\]"),
        (401, b"\xff no token", UnavailableError, "401 .* no token"),
        (429, b"{}", UnavailableError, "429"),
        (503, b"<html>", UnavailableError, "503 <html>"),
        (599, b"", UnavailableError, "599"),
    ],
)
def test_a_refusal_is_told_in_its_words_and_tried_again_where_that_may_help(
    status: int, body: bytes, error: type[Exception], words: str
) -> None:
    with answering({"/page": (status, body)}) as url, pytest.raises(error, match=f"GET /page: {words}") as told:
        speak(url, lambda kube: kube.get("/page"))
    assert type(told.value) is error


def test_a_path_before_the_api_is_kept_and_names_arrive_as_they_were_quoted() -> None:
    found: list[object] = []

    async def read(kube: Kube) -> None:
        found.append(await kube.get("/api/a%2Fb"))
        found.append(await kube.items("/api/list", labels={"app": "x", "of": "y"}))
        found.append(await kube.get("/api/gone"))

    pages = {
        "/clusters/c1/api/a%2Fb": (200, b'{"seen": 1}'),
        "/clusters/c1/api/list?labelSelector=app%3Dx,of%3Dy&limit=500": (200, b'{"items": [1]}'),
    }
    with answering(pages) as url:
        speak(f"{url}/clusters/c1/", read)
    assert found == [{"seen": 1}, [1], None]


def test_nobody_at_the_address_is_told_with_the_address() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(UnavailableError, match=f"Kubernetes API {url}: GET /page: "):
        speak(url, lambda kube: kube.get("/page"))
