"""One replica behind its own HTTP server, without Ray: `python replica_server.py '<ServingArguments>' '<ServingRecord>' PORT`."""

import json
import sys

import uvicorn

from ray_apps.serving.api import Api
from ray_apps.serving.app import assemble
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.serving_record import ServingArguments


def main() -> None:
    """Serve until it is ended."""
    replica = assemble(ServingArguments.model_validate_json(sys.argv[1]), "replica-1")
    replica.arms.apply(json.loads(sys.argv[2]))

    async def evidence() -> EvidenceResponse:
        return EvidenceResponse(replicas=[replica.report()])

    uvicorn.run(Api(replica, evidence), host="127.0.0.1", port=int(sys.argv[3]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
