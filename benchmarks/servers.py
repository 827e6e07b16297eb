"""Servers that the serving benchmarks compare, each a process with one thread, asked over HTTP; their CPU time from /proc."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import common
import httpx

from rung.climbing.project import Project
from rung.lm.base import Decoding, ModelRef
from rung.lm.engines import Engines
from rung.predictor import folder_digest
from rung.serve import run
from rung.serve.answering.models import Served
from rung.task import load_task

TICK = os.sysconf("SC_CLK_TCK")
BASE = "smollm2-135m-instruct"
ADAPTERS = ("north", "south")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
LLAMA = """
import sys, time, xllamacpp as llama
how = llama.CommonParams()
how.model.path, how.n_ctx, how.n_parallel, how.n_gpu_layers = sys.argv[1], 16 * 1024, 16, 0
how.cpuparams.n_threads = how.cpuparams_batch.n_threads = 1
how.hostnames, how.port = ["127.0.0.1"], int(sys.argv[2])
how.warmup, how.fit_params, how.ui, how.offline, how.verbosity = False, False, False, True, 0
server = llama.Server(how)
time.sleep(3600)
"""


@dataclass
class Running:
    """A server that answers. `model`: the name that it knows its model by."""

    name: str
    model: str
    url: str
    process: subprocess.Popen
    log: Path
    seconds: list[float] = field(default_factory=list)
    """CPU-seconds a request, of each round."""
    walls: list[float] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)

    def cpu(self) -> float:
        """CPU-seconds of its process and all that it has started."""
        return sum(map(_cpu, _tree(self.process.pid)))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def running(
    name: str, model: str, command: Callable[[int], Sequence[str]], env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A server until the end of the block; `command` makes its command line of a port."""
    port = free_port()
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"serving-{os.getpid()}-{name.replace(' ', '-')}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command(port)], env={**os.environ, **THREADS, **(env or {})}, stdout=out, stderr=out, start_new_session=True
        )
    one = Running(name, model, f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(one, log)
        yield one
    finally:
        _stop(process)
        log.unlink(missing_ok=True)


def _stop(process: subprocess.Popen) -> None:
    """End a server and all that it has started."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def _wait(one: Running, log: Path, most: float = 300) -> None:
    until = time.monotonic() + most
    while time.monotonic() < until:
        if one.process.poll() is not None:
            raise SystemExit(f"{one.name} ended: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{one.url}/v1/models", timeout=5).read()
            return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"{one.name} did not answer in {most:.0f} s: {log.read_text()[-2000:]}")


# --- kinds of servers ---------------------------------------------------------------------------------------------------


def rung(folder: Path, name: str = "rung", tasks: Sequence[Path] = (), engine: str = "own") -> AbstractContextManager[Running]:
    """`rung serve` with one thread, of a task that asks the untouched base."""
    tasks = tasks or [task(folder / "task")]
    serve = [sys.executable, "-m", "rung.cli", "serve", *map(str, tasks), "--no-log", "--engine", engine, "--port"]
    return running(name, BASE, lambda port: [*serve, str(port)], _home(folder))


def _home(folder: Path) -> dict[str, str]:
    """The environment of a machine with one thread."""
    home = folder / "home"
    if not home.exists():
        home.mkdir()
        real = Path(os.environ.get("RUNG_HOME", Path.home() / ".cache" / "rung"))
        (home / "models").symlink_to(real / "models")
        for path in real.glob("machine-*.json"):
            (home / path.name).write_text(json.dumps(json.loads(path.read_text()) | {"threads": 1}))
    return {"RUNG_HOME": str(home)}


def adapted(folder: Path) -> AbstractContextManager[Running]:
    """`rung serve` of the base and of ADAPTERS on it, with one thread, by a program of its own."""
    for seed, name in enumerate(ADAPTERS, 1):
        random_adapter(folder / name, seed)
    command = [sys.executable, __file__, str(task(folder / "task")), *(str(folder / name) for name in ADAPTERS)]
    return running("rung with adapters", BASE, lambda port: [*command, str(port)], _home(folder))


def random_adapter(folder: Path, seed: int) -> None:
    """A LoRA that changes answers: what it learnt is random."""
    import torch

    from rung.lm.models import adapters
    from rung.lm.models.load import load
    from rung.lm.this_machine import load_or_measure

    model = adapters.lora(load(common.base_folder(), load_or_measure(), training=True).model, 8, 16, 0.0, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.02 * torch.randn_like(parameter))
    adapters.save(model, folder)


def with_adapter(project: Project, name: str, adapter: Path, most: int) -> Served:
    """A served model: the task's base with a LoRA."""
    base = project.start.model
    model = ModelRef(base.kind, base.name, base.digest, str(adapter), folder_digest(adapter))
    predictor = replace(project.start, model=model, decoding=Decoding(max_new_tokens=most))
    return Served(name, project, model, predictor, "lora")


def serve_adapted(place: Path, adapters: Sequence[Path], port: int) -> None:
    """Serve a task's base and LoRAs on it, each under its folder's name, on loopback."""
    project = Project(load_task(place), say=lambda text: None)
    shared = replace(project, shared_engines=Engines(project.machine, project.say, most=4))
    found = {path.name: with_adapter(shared, path.name, path, 20) for path in adapters}
    found[BASE] = Served(BASE, shared, project.start.model, project.start, "")
    run.serve(run.server(found, "127.0.0.1", run.Limits(timeout=600), run.Logging(None)), "127.0.0.1", port, print)


def task(folder: Path) -> Path:
    """A task with short answers."""
    return written(folder, "Answer the question.", [(f"what is {i} and {i}", f"{2 * i}") for i in range(30)])


def stories(folder: Path) -> Path:
    """A task with long answers, in the words of the questions that customers of a bank ask."""
    asked = [text.replace('"', "'") for text, _ in common.bank("train")[:30]]
    return written(folder, "Write a long story.", [(f"a story about: {text}", f"Once upon a time: {text}") for text in asked])


def written(folder: Path, what: str, rows: Sequence[tuple[str, str]]) -> Path:
    if not folder.exists():
        folder.mkdir()
        (folder / "rows.csv").write_text("q,a\n" + "".join(f'"{asked}","{said}"\n' for asked, said in rows))
        (folder / "rung.yaml").write_text(
            f"task: {what}\nkind: generate\ndata: {{examples: rows.csv, input: q, output: a}}\n"
            f"base: {BASE}\nrungs: [zero-shot]\ngoal: {{at_least: 0.5}}\n"
        )
    return folder


def transformers(folder: Path) -> object:
    """transformers' own server with continuous batching. It lists the models of the hub's cache and fails without one."""
    path, cache = str(common.base_folder()), folder / "hub"
    cache.mkdir()
    tool = shutil.which("transformers", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    how = ["serve", path, "--continuous-batching", "--cb-block-size", "32", "--cb-num-blocks", "640", "--device", "cpu"]
    return running(
        "transformers serve",
        path,
        lambda port: [str(tool), *how, "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)],
        {"HF_HUB_CACHE": str(cache)},
    )


def llama(folder: Path, kind: str) -> AbstractContextManager[Running]:
    """llama.cpp by xllamacpp, 16 slots, its own defaults otherwise."""
    from rung.lm.export import gguf_file
    from rung.lm.export.merged import merged

    file = folder / f"{kind}.gguf"
    if not file.exists():
        gguf_file.write(merged(common.base_folder(), "", kind), file, kind, BASE)
    return running(f"llama.cpp {kind}", BASE, lambda port: [sys.executable, "-c", LLAMA, str(file), str(port)])


def vllm(python: str) -> object:
    """vLLM for CPUs in float32, from an environment of its own."""
    path = str(common.base_folder())
    how = ["-m", "vllm.entrypoints.openai.api_server", "--model", path, "--dtype", "float32", "--max-model-len", "1024"]
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
    env["VLLM_CPU_OMP_THREADS_BIND"] = "0"
    return running("vLLM float32", path, lambda port: [python, *how, "--host", "127.0.0.1", "--port", str(port)], env)


# --- load ---------------------------------------------------------------------------------------------------------------


def front(number: int, words: int = 462) -> str:
    """A system message of about 550 tokens."""
    rows = [text for text, _ in common.bank("train")]
    drawn = random.Random(number).sample(rows, 200)
    return f"Desk {number}. You answer customers of a bank. They ask: " + " ".join(" ".join(drawn).split()[:words])


def question(number: int) -> str:
    return " ".join(common.bank("test")[number][0].split()[:12])


def messages(system: str, text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def ask(client: httpx.Client, one: Running, asked: list[dict[str, str]], most: int = 20, model: str = "") -> str:
    """One answer, greedy."""
    body = {"model": model or one.model, "messages": asked, "max_tokens": most, "temperature": 0}
    found = client.post(f"{one.url}/v1/chat/completions", json=body)
    found.raise_for_status()
    return str(found.json()["choices"][0]["message"]["content"]).strip()


def load(
    one: Running, asked: Sequence[list[dict[str, str]]], models: Sequence[str] = (), clients: int = 16
) -> tuple[float, float]:
    """Ask all of these by so many concurrent clients; CPU-seconds and seconds a request. Answers are kept by their request."""
    before, started = one.cpu(), time.monotonic()
    with httpx.Client(timeout=600) as client, ThreadPoolExecutor(clients) as pool:
        names = models or [""] * len(asked)
        found = list(pool.map(lambda pair: ask(client, one, pair[0], model=pair[1]), zip(asked, names)))
    for said, what, name in zip(found, asked, names):
        one.answers[f"{name} {what}"] = said
    return (one.cpu() - before) / len(asked), (time.monotonic() - started) / len(asked)


def _tree(pid: int) -> list[int]:
    out = [pid]
    for place in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in place.read_text().split():
                out += _tree(int(child))
        except OSError:
            continue
    return out


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICK


if __name__ == "__main__":
    serve_adapted(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:-1]], int(sys.argv[-1]))
