"""Units and currencies as answers write them: mapped to one name each. Nothing is converted: 5 km is not 5000 m."""

from __future__ import annotations

import re
import unicodedata

_CURRENCIES = {
    "usd": "$ US$ USD dollar dollars",
    "eur": "€ EUR euro euros",
    "gbp": "£ GBP",
    "jpy": "¥ JPY yen",
    "cny": "CNY RMB yuan",
    "inr": "₹ INR Rs Rs. rupee rupees",
    "krw": "₩ KRW",
    "rub": "₽ RUB rouble roubles ruble rubles",
    "chf": "CHF francs",
    "aud": "A$ AUD",
    "cad": "C$ CAD",
    "sek": "SEK",
    "nok": "NOK",
    "dkk": "DKK",
    "pln": "PLN zł",
}
_UNITS = {
    "m": "metre metres meter meters",
    "km": "kilometre kilometres kilometer kilometers",
    "cm": "centimetre centimetres centimeter centimeters",
    "mm": "millimetre millimetres millimeter millimeters",
    "µm": "um micrometre micrometres micrometer micrometers micron microns",
    "nm": "nanometre nanometres nanometer nanometers",
    "mi": "mile miles",
    "ft": "foot feet",
    "inch": "inches",
    "yd": "yard yards",
    "g": "gram grams gramme grammes",
    "kg": "kilogram kilograms kilo kilos",
    "mg": "milligram milligrams",
    "µg": "ug mcg microgram micrograms",
    "t": "tonne tonnes",
    "lb": "lbs",
    "oz": "ounce ounces",
    "L": "l litre litres liter liters",
    "mL": "ml millilitre millilitres milliliter milliliters",
    "cL": "cl centilitre centilitres",
    "s": "sec secs second seconds",
    "ms": "millisecond milliseconds",
    "µs": "microsecond microseconds",
    "ns": "nanosecond nanoseconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "d": "day days",
    "week": "weeks wk wks",
    "month": "months",
    "year": "years yr yrs",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "W": "watt watts",
    "mW": "milliwatt milliwatts",
    "kW": "kilowatt kilowatts",
    "MW": "megawatt megawatts",
    "GW": "gigawatt gigawatts",
    "Wh": "",
    "mWh": "",
    "kWh": "",
    "MWh": "",
    "V": "volt volts",
    "mV": "millivolt millivolts",
    "kV": "kilovolt kilovolts",
    "MV": "megavolt megavolts",
    "mA": "milliampere milliamps",
    "Ah": "",
    "mAh": "",
    "Ω": "ohm ohms",
    "J": "joule joules",
    "mJ": "millijoule millijoules",
    "kJ": "kilojoule kilojoules",
    "MJ": "megajoule megajoules",
    "kcal": "",
    "cal": "",
    "N": "newton newtons",
    "kN": "",
    "Pa": "pascal pascals",
    "mPa": "",
    "hPa": "",
    "kPa": "",
    "MPa": "",
    "bar": "",
    "mbar": "",
    "psi": "",
    "dB": "decibel decibels",
    "bit": "bits",
    "byte": "bytes B",
    "kB": "KB kilobyte kilobytes",
    "MB": "mb megabyte megabytes",
    "GB": "gb gigabyte gigabytes",
    "TB": "tb terabyte terabytes",
    "KiB": "",
    "MiB": "",
    "GiB": "",
    "kb": "Kb kbit",
    "Mb": "Mbit",
    "Gb": "Gbit",
    "Tb": "Tbit",
    "kbps": "kbit/s kb/s",
    "Mbps": "Mbit/s Mb/s",
    "Gbps": "Gbit/s Gb/s",
    "kB/s": "KB/s KB/S kBps KBps",
    "MB/s": "MB/S MBps",
    "GB/s": "GB/S GBps",
    "px": "pixel pixels",
    "rpm": "",
    "mol": "",
    "mmol": "",
    "M": "",
    "k": "",
    "K": "kelvin",
    "G": "",
    "°": "degree degrees deg",
    "°C": "° C|degrees C|degrees celsius|degree celsius|celsius",
    "°F": "° F|degrees F|degrees fahrenheit|degree fahrenheit|fahrenheit",
    "m/s": "metres per second|meters per second",
    "km/h": "kmh|kph|km per hour|kilometres per hour|kilometers per hour",
    "mph": "miles per hour|mile per hour",
    "mg/L": "mg/l",
    "mg/dL": "mg/dl",
    "mg/kg": "",
    "kg/m^3": "",
    "g/cm^3": "",
    "m^2": "m2|sqm|sq m|square metres|square meters|square metre|square meter",
    "km^2": "km2|sq km|square kilometres|square kilometers",
    "cm^2": "cm2",
    "mm^2": "mm2",
    "m^3": "m3|cubic metres|cubic meters",
    "cm^3": "cm3",
    "ha": "hectare hectares",
    "acre": "acres",
}

_EXACT = frozenset({"mWh", "MV", "mJ", "mPa", "Tb", "kB/s", "MB/s", "GB/s"})
"""Rare units: where a commoner one differs in case alone, any other spelling means that one, as 100 MWH means MWh."""


def _spellings(table: dict[str, str]) -> dict[str, str]:
    """Each spelling to its name, the name among them."""
    out: dict[str, str] = {}
    for name, spellings in table.items():
        written = (name, *(spellings.split("|") if "|" in spellings else spellings.split()))
        out |= {unicodedata.normalize("NFKC", spelling): name for spelling in written}
    return out


def _folded(known: dict[str, str]) -> dict[str, str]:
    """Case-insensitive spellings, if unambiguous: mW and MW are different units."""
    names: dict[str, set[str]] = {}
    common = {spelling.casefold() for spelling, name in known.items() if name not in _EXACT}
    for spelling, name in known.items():
        if name in _EXACT and spelling.casefold() in common:
            continue
        names.setdefault(spelling.casefold(), set()).add(name)
    return {spelling: min(some) for spelling, some in names.items() if len(some) == 1 and len(spelling) > 1}


CURRENCIES, UNITS = _spellings(_CURRENCIES), _spellings(_UNITS)
MONEY = frozenset(_CURRENCIES)
_folded_units, _folded_currencies = _folded(UNITS), _folded(CURRENCIES)


def unit(text: str) -> str:
    """The canonical name of a unit or currency; empty if unknown."""
    written = " ".join(text.split())
    folded = written.casefold()
    found = CURRENCIES.get(written) or UNITS.get(written) or _folded_currencies.get(folded) or _folded_units.get(folded)
    return found or ""


def pattern(spellings: dict[str, str]) -> str:
    """A regular expression for any of the spellings, case aside, the longest first."""
    longest = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
    return "|".join(re.escape(spelling).replace(r"\ ", r"\s?") for spelling in longest)
