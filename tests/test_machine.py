"""The cost arithmetic, against numbers worked out by hand; prices; what is kept between runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung import hardware
from rung.contention import BUSY_SHARE
from rung.hardware import fingerprint, usable_cores, usable_memory, usable_threads
from rung.lm import probe
from rung.lm.this_machine import load_or_measure
from rung.machine import ATTENTION_COST, DECODE_STEP_SECONDS, EFFICIENCY, PREFILL_EFFICIENCY, Machine, frozen_bytes, width
from rung.machine_prices import USD_PER_OTHER_GPU_HOUR, list_price
from rung.methods import tuning
from rung.methods.estimate import PROCESS_BYTES
from rung.methods.facts import Facts
from rung.methods.tuning import TrainingLoad

BOX = Machine(
    name="box",
    cores=2,
    threads=2,
    memory_bytes=8 * 2**30,
    device="cpu",
    device_name="a processor",
    gflops={"float32": 100.0, "bfloat16": 400.0},
    bandwidth_gbs=20.0,
    dtype="float32",
    usd_per_hour=0.36,
)
P = 135_000_000


def test_training_prefill_and_money_by_hand() -> None:
    rate = 100e9 * EFFICIENCY
    assert BOX.training_seconds(P, 1.0, tokens=10_000, epochs=3) == pytest.approx(6 * P * 30_000 / rate)
    assert BOX.training_seconds(P, 0.0, tokens=10_000) == pytest.approx(4 * P * 10_000 / rate)
    assert BOX.prefill_seconds(P, 1000) == pytest.approx(2 * P * 1000 / (100e9 * PREFILL_EFFICIENCY))
    wide, plain = width(P), BOX.prefill_seconds(P, 1000)
    assert BOX.prefill_seconds(P, 1000, wide) == pytest.approx((1 + ATTENTION_COST) * plain)
    assert replace(BOX, device="cuda").prefill_seconds(P, 1000, wide) == pytest.approx(7 / 6 * plain)
    assert BOX.usd(1800) == pytest.approx(0.18)


def test_a_step_of_decoding_reads_the_weights_once_and_computes_for_every_answer() -> None:
    reading, computing = 4 * P / 20e9, 2 * P / (100e9 * EFFICIENCY)
    assert BOX.decode_seconds(P, tokens=10) == pytest.approx(10 * (DECODE_STEP_SECONDS + reading + computing))
    assert BOX.decode_seconds(P, tokens=10, batch=64) == pytest.approx(10 * (DECODE_STEP_SECONDS + reading + 64 * computing))


def test_the_chosen_type_decides_speed_and_size() -> None:
    half = replace(BOX, dtype="bfloat16")
    assert half.prefill_seconds(P, 1000) == pytest.approx(BOX.prefill_seconds(P, 1000) / 4)
    reading = 4 * P / 20e9
    assert half.decode_seconds(P, 1) == pytest.approx(DECODE_STEP_SECONDS + reading / 2 + 2 * P / (400e9 * EFFICIENCY))


@given(
    share=st.floats(0, 1), more=st.floats(0, 1), tokens=st.integers(1, 10**7), batch=st.integers(1, 512)
)  # no quote may fall when the work grows
def test_quotes_grow_with_the_work(share: float, more: float, tokens: int, batch: int) -> None:
    low, high = sorted((share, more))
    assert BOX.training_seconds(P, low, tokens) <= BOX.training_seconds(P, high, tokens)
    one, all_of_them = BOX.decode_seconds(P, tokens), BOX.decode_seconds(P, tokens, batch)
    assert one <= all_of_them <= one * batch * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("NVIDIA A100-SXM4-80GB", 1.50),
        ("NVIDIA A10", 1.00),
        ("NVIDIA H100 80GB HBM3", 3.00),
        ("Tesla T4", 0.50),
        ("NVIDIA L4", 0.80),
        ("NVIDIA L40S", 1.90),
        ("NVIDIA GeForce RTX 3060", USD_PER_OTHER_GPU_HOUR),
    ],
)
def test_gpu_prices_go_by_whole_words(name: str, price: float) -> None:
    assert list_price("cuda", name, cores=16) == price


def test_two_processors_cost_ten_cents() -> None:
    assert list_price("cpu", "AMD EPYC", cores=2) == pytest.approx(0.10)


def test_measured_once_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_HOME", str(tmp_path))
    calls: list[int] = []
    monkeypatch.setattr(probe, "measure", lambda: calls.append(1) or (replace(BOX, usd_per_hour=0.0), 0.1))
    first, second = load_or_measure(), load_or_measure(usd_per_hour=9.0)
    assert calls == [1]
    assert first.usd_per_hour == pytest.approx(0.10)
    assert second == replace(first, usd_per_hour=9.0)
    assert [path.name for path in tmp_path.iterdir()] == [f"machine-{fingerprint()}.json"]


def test_of_what_a_busy_machine_measures_the_fastest_is_used_until_it_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNG_HOME", str(tmp_path))
    slow = replace(BOX, gflops={"float32": 40.0})
    monkeypatch.setattr(probe, "measure", lambda: (slow, BUSY_SHARE + 0.01))
    assert load_or_measure().gflops == slow.gflops
    slower = replace(slow, gflops={"float32": 30.0}, bandwidth_gbs=BOX.bandwidth_gbs * 2, bf16_speedup=1.3)
    monkeypatch.setattr(probe, "measure", lambda: (slower, BUSY_SHARE + 0.01))
    found = load_or_measure()
    assert (found.gflops, found.bandwidth_gbs, found.bf16_speedup) == (slow.gflops, BOX.bandwidth_gbs * 2, 1.3)
    monkeypatch.setattr(probe, "measure", lambda: (slow, BUSY_SHARE + 0.01))
    assert load_or_measure().bf16_speedup == 1.3, "the precision that is faster does not change with the load"
    monkeypatch.setattr(probe, "measure", lambda: (BOX, BUSY_SHARE))
    assert load_or_measure().gflops == load_or_measure().gflops == BOX.gflops
    assert capfd.readouterr() == ("", "")


def test_a_burst_spoils_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = iter([0.1, 0.2, 0.9, 0.9, 0.1, 0.2, 0.1, 0.2])  # the neighbour fills the second round
    monkeypatch.setattr(probe, "_window", lambda device, call: next(windows))
    assert probe.fastest("cpu", [(1.0, lambda: None), (1.0, lambda: None)]) == pytest.approx([10.0, 5.0])


def test_another_machine_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_HOME", str(tmp_path))
    before = fingerprint()
    with monkeypatch.context() as limited:
        limited.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
        assert fingerprint() != before, "speeds without instructions that this processor has"
    monkeypatch.setattr(hardware, "_cpu_flags", lambda: "fpu sse2")
    assert fingerprint() != before


def test_affinity_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "affinity", lambda: [0])
    assert (usable_cores(), usable_threads()) == (1, 1)


@pytest.mark.parametrize(("limit", "cores"), [(["150000", "100000"], 1), (["50000", "100000"], 1), (["max", "1"], 4)])
def test_a_container_grants_less(limit: list[str], cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "affinity", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(hardware, "_cgroup", lambda name: limit)
    assert usable_cores() == cores


def test_memory_limit_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_cgroup", lambda name: ["1048576"])
    assert usable_memory() == 1048576


def test_the_type_comes_from_what_was_measured() -> None:
    fast, slow = {"float32": 100.0, "bfloat16": 400.0}, {"float32": 100.0, "bfloat16": 2.0}
    assert probe.choose_dtype("cpu", fast) == "float32"
    assert probe.choose_dtype("cuda", fast) == "bfloat16"
    assert probe.choose_dtype("cuda", slow) == "float32"


def test_a_real_measurement_is_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WINDOW_SECONDS", 0.01)
    monkeypatch.setattr(probe, "VECTOR_BYTES", dict.fromkeys(probe.VECTOR_BYTES, 2**24))
    measured, others = probe.measure()
    assert 0 <= others <= 1
    assert measured.dtype in measured.gflops and min(measured.gflops.values()) > 0.01
    assert 0.1 < measured.bandwidth_gbs < 100_000
    assert measured.memory_bytes > 2**27
    assert 1 <= measured.threads <= measured.cores
    json.dumps(asdict(measured))


@pytest.mark.parametrize(("onednn", "taken"), ((90.0, False), (101.0, False), (110.0, True)))
def test_onednn_is_taken_where_it_is_faster(monkeypatch: pytest.MonkeyPatch, onednn: float, taken: bool) -> None:
    speeds = {"float32": 100.0, "bfloat16": 5.0, "reading": 20.0, "oneDNN": onednn}
    monkeypatch.setattr(probe, "find_device", lambda: "cpu")
    monkeypatch.setattr(probe.onednn_linear, "has_onednn", lambda: True)
    monkeypatch.setattr(probe, "matrix_work", lambda *_: (1.0, lambda: None))
    monkeypatch.setattr(probe, "reading_work", lambda *_: (1.0, lambda: None))
    monkeypatch.setattr(probe, "fastest", lambda device, works: list(speeds.values())[: len(works)])
    measured, _ = probe.measure()
    assert measured.onednn is taken
    assert measured.gflops == {"float32": max(100.0, onednn) if taken else 100.0, "bfloat16": 5.0}
    assert measured.bandwidth_gbs == 20.0


@pytest.mark.parametrize(("bf16", "layer", "taken"), ((400.0, 150.0, 1.5), (400.0, 114.0, 1.0), (90.0, 150.0, 1.0)))
def test_frozen_layers_are_bfloat16_where_a_whole_layer_is_faster(
    monkeypatch: pytest.MonkeyPatch, bf16: float, layer: float, taken: float
) -> None:
    speeds = {"float32": 100.0, "bfloat16": bf16, "reading": 20.0}
    monkeypatch.setattr(probe, "find_device", lambda: "cpu")
    monkeypatch.setattr(probe.onednn_linear, "has_onednn", lambda: False)
    monkeypatch.setattr(probe, "matrix_work", lambda *_: (1.0, lambda: None))
    monkeypatch.setattr(probe, "reading_work", lambda *_: (2.0, lambda: None))
    monkeypatch.setattr(probe, "layer_work", lambda *_: (3.0, lambda: None))

    def fastest(device: str, works: list) -> list[float]:
        return [100.0, layer] if works[0][0] == 3.0 else list(speeds.values())[-len(works) :]

    monkeypatch.setattr(probe, "fastest", fastest)
    measured, _ = probe.measure()
    assert measured.bf16_speedup == taken and not measured.frozen_bf16 and measured.dtype == "float32"
    assert measured.multiplies_bf16 and measured.freezing(True).frozen_bf16 and not measured.freezing(False).frozen_bf16
    monkeypatch.setattr(probe.frozen_linear, "has_product", lambda: False)
    assert not probe.measure()[0].freezing(True).frozen_bf16, "a build without the product"
    assert not replace(measured, device="cuda").freezing(True).frozen_bf16


def test_both_layers_of_the_probe_compute() -> None:
    import torch

    exact, rounded = (
        probe.layer_work(dtype, by)
        for dtype, by in ((torch.float32, torch.nn.functional.linear), (torch.bfloat16, probe.frozen_linear.product))
    )
    assert exact[0] == rounded[0] == pytest.approx(4 * 1024 * 576 * 1536 / 1e9)
    shapes = [[(tuple(one.shape), one.dtype) for one in work()] for _, work in (exact, rounded)]
    assert shapes[0] == shapes[1] == [((1024, 1536), torch.float32), ((1024, 576), torch.float32)]


def test_frozen_bfloat16_shortens_the_products_of_a_step_and_halves_their_weights() -> None:
    faster = replace(BOX, bf16_speedup=2.0)
    assert faster.training_seconds(P, 0.03, 1000, frozen=True) == BOX.training_seconds(P, 0.03, 1000), "nobody asks for it"
    units = faster.freezing(True)
    assert units.training_seconds(P, 0.03, 1000) == BOX.training_seconds(P, 0.03, 1000), "what is trained stays float32"
    seconds = [one.training_seconds(P, 0.03, 1000, frozen=True) for one in (BOX, units)]
    assert seconds[1] == pytest.approx(seconds[0] * (1 - EFFICIENCY / 2))
    load = TrainingLoad(epochs=1, batch=8, tokens=20_000, trained=0.03, freezes=True)
    facts = Facts(
        train_rows=1,
        parameters=P,
        vocabulary_parameters=P // 4,
        encoder_parameters=0,
        shared_tokens=0,
        input_tokens=0,
        output_tokens=0,
        labels=0,
    )
    wide, half = (tuning.memory(P, 0.03, 20_000, one, load.weight(one, facts)) for one in (BOX, units))
    assert wide - half == pytest.approx(1.5 * P, abs=2), "embeddings and head stay float32"
    assert tuning.memory(P, 0.0, 1, units, frozen_bytes(P, 0)) == PROCESS_BYTES + 4 * P, "they are read in float32"


def test_a_hopeless_type_is_not_measured_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []

    def pretend(device: str, call: object) -> float:
        timed.append(device)
        return 0.1  # a third of a GFLOP/s

    monkeypatch.setattr(probe, "_window", pretend)
    import torch

    assert probe.matrix_work("cpu", torch.bfloat16)[0] == pytest.approx(2 * 256**3 / 1e9)
    assert timed == ["cpu"]
    assert probe.matrix_work("cpu", torch.float32)[0] == pytest.approx(2 * 1024**3 / 1e9)
