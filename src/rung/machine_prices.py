"""What an hour of a machine costs: list prices, and the user's own."""

from __future__ import annotations

from rung.errors import RungError
from rung.home import home
from rung.machine import Device, Machine

USD_PER_CORE_HOUR = 0.05
"""CPU machines: about the on-demand cloud price of one vCPU ($0.10 an hour for two). A laptop costs less to run, but the
comparison of rungs should not change on a rented machine."""

USD_PER_GPU_HOUR = {
    "B200": 6.00,
    "MI300X": 3.50,
    "H200": 4.00,
    "H100": 3.00,
    "A100": 1.50,
    "L40S": 1.90,
    "L4": 0.80,
    "A10": 1.00,
    "T4": 0.50,
    "V100": 1.00,
    "4090": 0.50,
    "3090": 0.30,
}
"""One GPU on demand, middle of 2026, rounded from public list prices, which differ by two to three times.
Set `machine_usd_per_hour` in rung.yaml, or prices.yaml under `home()`, to what you pay."""

USD_PER_OTHER_GPU_HOUR = 1.00


def list_price(device: Device, device_name: str, cores: int) -> float:
    """US dollars per hour for such a machine, from the tables above."""
    if device != "cuda":
        return USD_PER_CORE_HOUR * cores
    words = device_name.upper().replace("-", " ").split()
    return next((usd for gpu, usd in USD_PER_GPU_HOUR.items() if gpu in words), USD_PER_OTHER_GPU_HOUR)


def user_prices() -> dict[str, float]:
    """The user's prices in US dollars per hour by kind of machine, from prices.yaml under `home()`; empty without it.

    `machines: {h100: 2.10, core: 0.04}`: a GPU by its kind in `rung.planning.machines`, a processor core as `core`.
    """
    path = home() / "prices.yaml"
    if not path.exists():
        return {}
    import yaml

    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    stated = found.get("machines", {}) if isinstance(found, dict) else None
    if not isinstance(stated, dict) or not all(isinstance(usd, int | float) and usd >= 0 for usd in stated.values()):
        raise RungError(
            f"machines is {stated!r}, but must map kinds to dollars per hour.",
            where=str(path),
            remedy="Write for example: machines: {h100: 2.10, core: 0.04}",
        )
    return {str(kind).lower(): float(usd) for kind, usd in stated.items()}


def default_price(machine: Machine) -> float:
    """The user's price for this kind of machine, or the list price."""
    own = user_prices()
    if machine.device != "cuda":
        return own["core"] * machine.cores if "core" in own else list_price(machine.device, "", machine.cores)
    words = machine.device_name.lower().replace("-", " ").split()
    listed = list_price(machine.device, machine.device_name, machine.cores)
    return next((usd for kind, usd in own.items() if kind in words), listed)
