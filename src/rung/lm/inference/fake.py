"""An engine without a model for fast tests: answers with the label that shares most words with the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt


class FakeEngine:
    """Implements the engine protocol by word overlap: poor, deterministic, instant. Demonstrations help it a little."""

    context = 4096

    def __init__(self) -> None:
        self.asked = 0
        """Rows answered so far; tests use it to count cache hits."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        self.asked += len(prompts)
        if progress:
            progress(len(prompts))
        return [Completion(p.input.split()[-1] if p.input.split() else "", self.count(p), 1) for p in prompts]

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        self.asked += len(prompts)
        out = []
        for prompt in prompts:
            scores = self.score([prompt] * len(labels), labels)
            best = max(range(len(labels)), key=lambda i: (scores[i], -i))
            out.append(Choice(labels[best], scores[best], 1.0 / len(labels), self.count(prompt), 1))
            if progress:
                progress(1)
        return out

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        out = []
        for prompt, answer in zip(prompts, answers):
            text = prompt.input.lower()
            parts = [part for part in answer.lower().replace("_", " ").split() if part]
            demos = [m.content for m in prompt.messages if m.role == "assistant"]
            hits = sum(part in text for part in parts) + 0.5 * demos.count(answer)
            out.append(-1.0 / (1.0 + hits))
        return out

    def count(self, prompt: Prompt) -> int:
        return sum(len(m.content.split()) + 3 for m in prompt.messages)
