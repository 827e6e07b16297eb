"""What is refused before a step is trained, each by its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rung.errors import DataError, ModelError
from rung.lm.models import adapters
from rung.lm.models.chat import name_ends
from rung.lm.models.load import Loaded
from rung.lm.training import train, training_checks
from rung.lm.trees import virtual
from rung.lm.trees.tree import Row
from rung.types import Message

Fresh = Callable[[str], Loaded]


def row(loaded: Loaded, text: str = "the parcel") -> Row:
    return loaded.chat.row((Message("system", "sort these"), Message("user", text)), "late")


def test_good_rows_pass(loaded: Callable[[str], Loaded]) -> None:
    for kind in ("llama", "llama-bos", "llama-plain", "gpt2"):
        training_checks.check_rows([row(loaded(kind))], loaded(kind))


def test_no_rows(loaded: Callable[[str], Loaded]) -> None:
    with pytest.raises(DataError, match="no rows"):
        training_checks.check_rows([], loaded("llama"))


def test_a_row_of_which_nothing_is_learnt(loaded: Callable[[str], Loaded]) -> None:
    good = row(loaded("llama"))
    silent = replace(good, targets=(False,) * len(good.tokens))
    with pytest.raises(DataError, match="training row 2: no token"):
        training_checks.check_rows([good, silent], loaded("llama"))


def test_an_end_that_is_not_learnt(loaded: Callable[[str], Loaded]) -> None:
    good = row(loaded("llama"))
    cut = Row(good.tokens[:-1], good.targets[:-1])
    unmarked = replace(good, targets=(*good.targets[:-1], False))
    for bad in (cut, unmarked):
        with pytest.raises(DataError, match=r"training row 3: .*never learns to stop"):
            training_checks.check_rows([good, good, bad], loaded("llama"))


def test_a_row_over_the_context(loaded: Callable[[str], Loaded]) -> None:
    short = loaded("gpt2-short")
    for size in range(short.context - 8, short.context + 8):
        given = row(short)
        padded = Row((7,) * (size - len(given.tokens)) + given.tokens, (False,) * (size - len(given.tokens)) + given.targets)
        if len(padded.tokens) <= short.context:
            training_checks.check_rows([padded], short)
        else:
            with pytest.raises(DataError, match=rf"training row 1: .* at most {short.context} tokens, got {size}"):
                training_checks.check_rows([padded], short)


def test_virtual_tokens_take_up_the_context(fresh: Fresh) -> None:
    short = fresh("gpt2-short")
    given = row(short)
    full = Row((7,) * (48 - len(given.tokens)) + given.tokens, (False,) * (48 - len(given.tokens)) + given.targets)
    training_checks.check_rows([full], short)
    fronted = replace(short, model=adapters.prompt(short.model, virtual.initial_tokens(short.chat, "x", 2)))
    with pytest.raises(DataError, match="at most 46"):
        training_checks.check_rows([full], fronted)


def test_a_begin_token_said_twice(loaded: Callable[[str], Loaded]) -> None:
    one = loaded("llama-bos")
    given = row(one)
    assert given.tokens[0] == one.chat.tokenizer.bos_token_id != given.tokens[1]
    doubled = Row((given.tokens[0], *given.tokens), (False, *given.targets))
    with pytest.raises(DataError, match=r"training row 1: .*'<\|bos\|>' twice"):
        training_checks.check_rows([doubled], one)


def test_a_padding_token_that_ends_answers(fresh: Fresh) -> None:
    one = fresh("llama")
    generation, end = one.model.generation_config, one.chat.end
    for ends, pad in ((end, end), ([end], end), ([2, end], 0), ([2, end], 2), ([2, end], None)):
        generation.eos_token_id, generation.pad_token_id = ends, pad
        training_checks.check_pad_token(one)
    generation.eos_token_id, generation.pad_token_id = [2, end], end
    with pytest.raises(ModelError, match=r"generation_config.json: the padding token .* also ends answers"):
        training_checks.check_pad_token(one)


@pytest.mark.parametrize("known", [True, False], ids=["rows known", "rows yet to be drawn"])
def test_a_padding_token_that_ends_answers_is_found_before_any_step(fresh: Fresh, tmp_path: Path, known: bool) -> None:
    one = fresh("llama")
    one.model.generation_config.eos_token_id = [2, one.chat.end]
    one.model.generation_config.pad_token_id = one.chat.end
    items = train.Items() if known else train.Items(rows=lambda item: ())
    with pytest.raises(ModelError, match="also ends answers"):
        train.run(one, [row(one)], train.TrainConfig(learning_rate=1, epochs=1), tmp_path, items=items)


def test_whole_weights_say_where_an_answer_ends(fresh: Fresh) -> None:
    one = fresh("llama")
    one.model.generation_config.pad_token_id = 2
    name_ends(one.model, one.chat)
    assert one.model.generation_config.eos_token_id == sorted({2, one.chat.end})
    assert one.model.generation_config.pad_token_id is None
    training_checks.check_pad_token(one)


def test_refused_before_any_step(fresh: Fresh, tmp_path: Path) -> None:
    one = fresh("llama")
    good = row(one)
    told: list[int] = []
    watch = train.Watch(lambda done, *_: told.append(done))
    with pytest.raises(DataError):
        train.run(
            one,
            [good, Row(good.tokens[:-1], good.targets[:-1])],
            train.TrainConfig(learning_rate=1, epochs=1),
            tmp_path,
            watch=watch,
        )
    assert not told


@pytest.mark.parametrize("small", [False, True], ids=["full", "lora"])
def test_a_checkpoint_without_its_end_is_deleted(fresh: Fresh, tmp_path: Path, small: bool) -> None:
    one = fresh("llama")
    one = replace(one, model=adapters.lora(one.model, 2, 4, 0.0, 0)) if small else one

    def stop(done: int, total: int, loss: float) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(one, [row(one)], train.TrainConfig(learning_rate=1e-3, epochs=3), tmp_path / "work", watch=train.Watch(stop))
    (whole,) = (tmp_path / "work").iterdir()
    weights = "adapter_model.safetensors" if small else "model.safetensors"
    for name in (weights, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        for bad in ("missing", "cut"):
            folder = tmp_path / f"{bad} {name}"
            for number in (3, 12):
                shutil.copytree(whole, folder / f"checkpoint-{number}")
            broken = folder / "checkpoint-12" / name
            content = broken.read_bytes()
            broken.unlink()
            if bad == "cut":
                broken.write_bytes(content[: len(content) // 2])
            training_checks.delete_partial_checkpoints(folder)
            assert [path.name for path in folder.iterdir()] == ["checkpoint-3"], folder.name
    training_checks.delete_partial_checkpoints(tmp_path / "no such folder")
