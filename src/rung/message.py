"""One turn of a conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str
    extra: str = ""
    """What else it says, as a JSON object: calls of tools, or which call it answers (`rung.calls`). Empty for most."""

    @property
    def fields(self) -> dict[str, Any]:
        """As an API or a chat template takes it."""
        return {"role": self.role, "content": self.content, **(json.loads(self.extra) if self.extra else {})}

    @property
    def named(self) -> list[str]:
        """What its content name is made of."""
        return [self.role, self.content, *([self.extra] if self.extra else [])]
