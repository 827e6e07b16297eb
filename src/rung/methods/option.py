"""What a number of an option may be: held to where rung.yaml is read, before anything is quoted or spent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
"""One at least."""

Natural = Annotated[int, Field(ge=0)]
"""A count where 0 does without, or leaves it to the method."""

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Above 0: of 0 nothing would be learnt."""

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Of a part that 0 leaves out."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""
