"""What many tests share: a machine that is not measured, and tiny random models in folders as a hub would give them."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from rung.hardware import fingerprint
from rung.lm.inference.fake import FakeEngine
from rung.machine import Machine

settings.register_profile("rung", deadline=None)  # machines that run tests are busy; what must be fast has a test of its own
settings.load_profile("rung")

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BOS_TEMPLATE = "{{ bos_token }}" + CHAT_TEMPLATE
CORPUS = ("refund please the parcel is late", "where is my order", "answer with one of these labels", "delay other café 🙂 日本")
SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]


def pytest_collection_finish() -> None:
    """Take what all test files have imported out of the garbage collector: to look through it took a sixth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A key of the tests' own to sign with; child processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNG_KEY_FILE", str(tmp_path_factory.mktemp("key") / "key"))
        yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every input of which the fake model chooses a label, in order."""
    return _inputs(monkeypatch, "choose")


@pytest.fixture
def wrote(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every input to which the fake model writes an answer, in order."""
    return _inputs(monkeypatch, "generate")


def _inputs(monkeypatch: pytest.MonkeyPatch, method: str) -> list[str]:
    inputs: list[str] = []
    plain = getattr(FakeEngine, method)

    def noted(self: FakeEngine, prompts: Any, what: Any, progress: Any = None) -> Any:
        inputs.extend(prompt.input for prompt in prompts)
        return plain(self, prompts, what, progress)

    monkeypatch.setattr(FakeEngine, method, noted)
    return inputs


@pytest.fixture(scope="session")
def machine() -> Machine:
    return Machine(
        name="made up",
        cores=2,
        threads=1,
        memory_bytes=8 << 30,
        device="cpu",
        device_name="made up",
        gflops={"float32": 50.0},
        bandwidth_gbs=10.0,
        dtype="float32",
        usd_per_hour=0.1,
    )


@pytest.fixture
def home(tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RUNG_HOME in which this machine counts as measured, so that no test measures it or reads the user's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / f"machine-{fingerprint()}.json").write_text(json.dumps(asdict(machine)))
    monkeypatch.setenv("RUNG_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`base("llama")` is a folder with a tiny random model of that architecture and a byte-level tokenizer.

    Kinds: the architectures of `_config`; `llama-plain` has no chat template, `llama-bos` a tokenizer that adds its begin
    token, `gpt2-short` a context of 48 tokens.
    """
    root = tmp_path_factory.mktemp("bases")

    @cache
    def made(kind: str) -> Path:
        import torch
        from transformers import AutoModelForCausalLM

        folder = root / kind
        torch.manual_seed(len(kind))
        AutoModelForCausalLM.from_config(_config(kind)).save_pretrained(folder)
        template = {"llama-plain": None, "llama-bos": BOS_TEMPLATE}.get(kind, CHAT_TEMPLATE)
        made = _pieces(template) if kind.endswith("-pieces") else _tokenizer(template, adds_begin=kind == "llama-bos")
        made.save_pretrained(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random sentence encoder: BERT over single letters and mean pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    root = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(root / "bert")
    (root / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(root / "vocab.txt")).save_pretrained(root / "bert")
    transformer = Transformer(str(root / "bert"))
    SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save(str(root / "whole"))
    return root / "whole"


def _tokenizer(template: str | None, adds_begin: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    if adds_begin:
        made.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 1)])
    found = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>")
    found.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    found.chat_template = template
    return found


def _pieces(template: str | None) -> Any:
    """A tokenizer like SentencePiece's: "▁" for blanks, and bytes for what is in no piece."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Replace(" ", "▁")
    every = [*SPECIAL, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    learnt = json.loads(made.to_str())["model"]
    vocabulary = {token: number for number, token in enumerate([*every, *learnt["vocab"]])}
    merges = [tuple(one) for one in learnt["merges"]]
    made.model = models.BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    found = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>")
    found.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "unk_token": "<unk>"})
    found.chat_template = template
    return found


def _config(kind: str) -> Any:
    import transformers as t

    # a wide initial range makes attention matter: with the usual 0.02 a wrong mask would hardly show
    small = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    match kind:
        case "llama" | "llama-plain" | "llama-bos":
            return t.LlamaConfig(**small)
        case "qwen2":
            return t.Qwen2Config(**small)
        case "qwen3":
            return t.Qwen3Config(**small, head_dim=8)
        case "mistral":
            return t.MistralConfig(**small, sliding_window=5, head_dim=8)
        case "gemma3" | "gemma3-pieces":
            layers = ["sliding_attention", "full_attention", "sliding_attention"]
            size = {**small, "num_hidden_layers": 3, "vocab_size": 700 if kind == "gemma3-pieces" else 300}
            return t.Gemma3TextConfig(**size, head_dim=8, sliding_window=6, layer_types=layers, query_pre_attn_scalar=8)
        case "gpt2" | "gpt2-short":
            context = 48 if kind == "gpt2-short" else 512
            return t.GPT2Config(
                vocab_size=300,
                n_positions=context,
                n_embd=32,
                n_layer=2,
                n_head=4,
                initializer_range=0.2,
                bos_token_id=1,
                eos_token_id=2,
                attn_pdrop=0.0,
                embd_pdrop=0.0,
                resid_pdrop=0.0,
            )
        case "bloom":
            return t.BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2, eos_token_id=2)
        case "mamba":
            return t.MambaConfig(
                vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=8, initializer_range=0.2, eos_token_id=2
            )
    raise ValueError(kind)
