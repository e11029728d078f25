"""Base class of all specifications."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Base of all specifications: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
