"""One turn of a conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WEIGHT = "weight"


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str
    extra: str = ""
    """Further fields as JSON: tool calls, the call that it answers (`rung.calls`), a weight of 0. Usually empty."""

    @property
    def fields(self) -> dict[str, Any]:
        """The message as a dict for APIs and chat templates."""
        further = json.loads(self.extra) if self.extra else {}
        further.pop(WEIGHT, None)
        return {"role": self.role, "content": self.content, **further}

    @property
    def is_taught(self) -> bool:
        """Whether an answer may be learnt: OpenAI's files give those that may not a weight of 0."""
        return not (self.extra and json.loads(self.extra).get(WEIGHT) == 0)

    @property
    def named(self) -> list[str]:
        """The parts that identify its content."""
        return [self.role, self.content, *([self.extra] if self.extra else [])]
