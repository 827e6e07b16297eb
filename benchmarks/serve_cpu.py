"""CPU-seconds a request and requests a second of `rung serve` beside other servers, asked over HTTP by 16 clients at once.

Prompts of about 570 tokens, of which 550 are shared, and up to 20 new tokens; one thread each; rounds in turns; the front is
warm. Answers are compared with rung's. The last line is llama.cpp F16's CPU time over rung's, and the others'.

`--fronts N`: instead rung alone, with N fronts in turn against one front; `--adapters`: the N fronts with two adapters in turn.
`--vllm PYTHON`: also vLLM, installed in that environment.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import common
import servers


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests; under ten minutes on two cores")
    parser.add_argument("--requests", type=int, default=0, help="in each round; 32 with --quick, else 96")
    parser.add_argument("--fronts", type=int, default=1)
    parser.add_argument("--adapters", action="store_true")
    parser.add_argument("--vllm", default="", metavar="PYTHON")
    parser.add_argument("--without", default="", help="servers to leave out, by the beginnings of their names")
    return parser.parse_args()


def requests(round_: int, count: int, fronts: int) -> list[list[dict[str, str]]]:
    """Other questions in each round, behind the same fronts."""
    texts = [servers.front(k) for k in range(fronts)]
    drawn = [servers.messages(texts[k % fronts], servers.question(round_ * count + k)) for k in range(count)]
    random.Random(round_).shuffle(drawn)
    return drawn


def compare(args: argparse.Namespace, folder: Path) -> None:
    count, rounds = (args.requests or 32, 2) if args.quick else (args.requests or 96, 4)
    kinds = [
        ("rung", lambda: servers.rung(folder)),
        ("llama f16", lambda: servers.llama(folder, "f16")),
        ("llama q8_0", lambda: servers.llama(folder, "q8_0")),
        ("transformers", lambda: servers.transformers(folder)),
        *([("vllm", lambda: servers.vllm(args.vllm))] if args.vllm else []),
    ]
    left_out = [name for name in args.without.split(",") if name]
    with ExitStack() as stack:
        found = [stack.enter_context(make()) for name, make in kinds if not any(name.startswith(x) for x in left_out)]
        for round_ in range(rounds + 1):
            asked = requests(round_, count if round_ else 16, 1)
            for one in found:
                cpu, wall = servers.load(one, asked)
                if round_:  # the first warms the fronts
                    one.seconds.append(cpu)
                    one.walls.append(wall)
                print(f"round {round_} {one.name}: {cpu:.3f} CPU-s and {wall:.3f} s a request", flush=True)
    own = found[0]
    print(f"{'server':20} {'CPU-s a request':>16} {'requests/s':>11} {'over rung':>10} {'same answers':>13}")
    ratios = {}
    for one in found:
        cpu, wall = common.median(one.seconds), common.median(one.walls)
        pairs = [a / b for a, b in zip(one.seconds, own.seconds)]
        ratios[one.name] = common.median(pairs)
        same = sum(one.answers[key] == said for key, said in own.answers.items())
        print(f"{one.name:20} {cpu:>16.3f} {1 / wall:>11.2f} {ratios[one.name]:>10.2f} {f'{same}/{len(own.answers)}':>13}")
    others = {name: value for name, value in ratios.items() if name != own.name}
    first = next(iter(others.values()), 1.0)
    print(f"ratio={first:.2f} " + " ".join(f"{name.replace(' ', '_')}={value:.2f}" for name, value in others.items()))


def fronts(args: argparse.Namespace, folder: Path) -> None:
    count, rounds = (args.requests or 48, 3) if args.quick else (args.requests or 96, 6)
    cost: dict[int, list[float]] = {1: [], args.fronts: []}
    names = [servers.ADAPTERS[k % 2] for k in range(count)] if args.adapters else []
    with servers.adapted(folder) if args.adapters else servers.rung(folder) as one:
        for round_ in range(rounds + 1):
            for number in cost:
                cpu, wall = servers.load(one, requests(round_, count, number), names if number > 1 else ())
                if round_:
                    cost[number].append(cpu)
                print(f"round {round_}, {number} fronts: {cpu:.3f} CPU-s and {wall:.3f} s a request", flush=True)
    times = common.median([b / a for a, b in zip(*cost.values())])
    print(f"{args.fronts} fronts{' and two adapters' if args.adapters else ''} cost {times:.2f} times one front; at most 1.3")
    print(f"ratio={1 / times:.2f} cost={times:.2f}")


def main() -> None:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("ended by a signal"))  # the servers end with it
    common.machine()
    with tempfile.TemporaryDirectory(prefix="rung-serve-") as place:
        (fronts if args.fronts > 1 else compare)(args, Path(place))


if __name__ == "__main__":
    main()
