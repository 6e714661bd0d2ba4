"""How an artefact, an event or an API message is read and written: strict, frozen, snake_case JSON."""

from pydantic import BaseModel, ConfigDict


class Artifact(BaseModel):
    """A value that one station hands to the next; unknown fields are refused, so drift is loud."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        ser_json_inf_nan="null",
        protected_namespaces=(),
    )
