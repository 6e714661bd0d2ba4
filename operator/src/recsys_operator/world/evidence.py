"""What the replicas say of themselves: which record they serve, and what they have counted."""

import asyncio
from http import HTTPStatus

import httpx
from pydantic import ValidationError

from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import seen
from recsys_schemas.serving_evidence import EvidenceResponse

CALL_S = 3.0


async def read_evidence(http: httpx.AsyncClient, base: str, route: str, token: str) -> EvidenceResponse | None:
    """The evidence of one application; None while nothing is deployed on its route.

    Raises:
        UnavailableError: no answer in time, or none yet.
        RefusedError: the application does not know the operator's token, or answers in a way unknown here.
    """
    url = f"{base}{route}/v1/evidence"
    try:
        async with asyncio.timeout(CALL_S):
            answer = await http.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=CALL_S)
    except (httpx.HTTPError, TimeoutError) as error:
        words = f"spec.ray.servingURL: {url} does not answer within {CALL_S:g} s ({seen(error)})"
        raise UnavailableError(f"{words}; set it to where the cluster's Serve ingress answers") from error
    match answer.status_code:
        case HTTPStatus.OK:
            try:
                return EvidenceResponse.model_validate_json(answer.content, extra="ignore")
            except ValidationError as error:
                raise RefusedError(f"{url}: not an evidence report ({error.errors(include_url=False)[0]['msg']})") from error
        case HTTPStatus.NOT_FOUND:
            return None
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            # A record with the new token may still be on its way to the replicas.
            raise UnavailableError(f"{url}: {answer.status_code}: the replicas do not know the operator's token (yet)")
        case _:
            raise UnavailableError(f"{url}: {answer.status_code} {answer.text[:300]}")
