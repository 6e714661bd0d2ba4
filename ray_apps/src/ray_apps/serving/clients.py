"""Who asks: a name that limits and audits go by, and what they may do."""

from dataclasses import dataclass

from recsys_schemas.serving_record import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client."""

    name: str
    """`key:<first 12 hex digits of the token's hash>` or `jwt:<subject>`: never a token."""
    roles: frozenset[Role]
