"""Where versions are shown besides the store that is their truth."""

from typing import Annotated

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource
from recsys_schemas.v1alpha1.security import FileName, Name

_URL = r"^https?://[!-.0-~]+(/[!-~]*)?$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._ -]*$"
"""MLflow refuses / and : in the name of a registered model."""


class TokenKey(Resource):
    """One key of a Secret in the model's namespace."""

    name: Name
    """Name of the Secret."""
    key: FileName = "token"
    """Key within its data."""


class MLflow(Resource):
    """An MLflow tracking server that mirrors versions."""

    tracking_uri: Annotated[str, Field(max_length=512, pattern=_URL)]
    """Its address, such as http://mlflow:5000, as the Ray cluster reaches it."""
    model_name: Annotated[str | None, Field(max_length=250, pattern=_NAME)] = None
    """The registered model. Default: <namespace>.<name>."""
    experiment: Annotated[str | None, Field(max_length=250, pattern=_NAME)] = None
    """The experiment of its runs. Default: <namespace>.<name>."""
    token_secret_ref: TokenKey | None = None
    """A bearer token, or user:password; read on the Ray cluster from its mounted Secrets. Default: none is sent."""
    copy_artifacts: bool = False
    """Copy the arrays too. Default: card and page are copied, the arrays stay where they are and are named."""


class Registry(Resource):
    """Where versions are shown besides the store."""

    mlflow: MLflow | None = None
    """Mirror versions to MLflow: runs, metrics with intervals, artifacts, aliases champion and challenger. Nothing ever waits for it."""
