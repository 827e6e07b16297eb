"""Values and the base class of the sections of rung.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from rung.task import limits

Text = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Strict()]  # not lax: `volume: true` would be read as 1
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Path_ = Annotated[Text, Field(max_length=4096), AfterValidator(limits.path)]
Paths = Annotated[
    tuple[Path_, ...], Field(max_length=1000), BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
Model = Annotated[Text, Field(max_length=4096), AfterValidator(limits.model)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
