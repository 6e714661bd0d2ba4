"""GET /v1/model: what the replica that answers serves, and what it waits for."""

from ray_apps.serving.replica import Replica
from ray_apps.serving.switching import retained
from recsys_schemas.serving_api import ArmState, ModelResponse


def model_state(replica: Replica) -> ModelResponse:
    """The state of one replica's arms."""
    arms = replica.arms
    serving = arms.serving
    ready = arms.ready()
    refused = arms.refused()
    wanted = arms.wanted.arms if arms.wanted else []
    return ModelResponse(
        namespace=replica.arguments.namespace,
        name=replica.arguments.name,
        replica_id=replica.replica_id,
        ready=serving is not None and serving.stable is not None,
        epoch=arms.epoch,
        wanted_epoch=arms.wanted.epoch if arms.wanted else -1,
        arms=[
            ArmState(
                version=arm.version,
                digest=arm.digest,
                variant=arm.variant,
                share=arm.share,
                mapped=ready.get(arm.version) == arm.digest,
                refused=refused.get(arm.version),
            )
            for arm in wanted
        ],
        retained=retained(arms),
        switch=replica.switches.newest(),
        refused_record=arms.refused_record,
    )
