"""Settings of a run: a base class for configurations."""

import reprlib
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Config(BaseModel):
    """Settings that are checked when made, cannot change, and go to JSON and back.

    Raises:
        ValueError: the first setting that is wrong, and what it should be, in one sentence.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def __init__(self, /, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ValueError(self._sentence(error.errors()[0])) from None

    @classmethod
    def _sentence(cls, error: dict[str, Any]) -> str:
        """One pydantic error as one sentence, where pydantic prints several lines."""
        name = ".".join(str(part) for part in error["loc"])
        if error["type"] == "value_error":  # a sentence of our own
            return str(error["ctx"]["error"])
        if error["type"] == "extra_forbidden":
            nearest = get_close_matches(name, cls.model_fields, n=1, cutoff=0)
            choice = f": choose another, such as {nearest[0]}" if nearest else " at all"
            return f"{cls.__name__} has no setting {name!r:.40}{choice}."
        said = error["msg"][0].lower() + error["msg"][1:]
        return f"{name}: {said}, not {reprlib.repr(error['input'])}."

    def changed(self, /, **changes: Any) -> Self:
        """A copy with some settings changed, and checked (`model_copy` does not check)."""
        return type(self)(**(dict(self) | changes))
