"""Pairs of questions that differ in one thing that matters, and true rewordings of the same, from a fixed seed.

A template (``swaps.txt``) is asked in two ways; ``{x}`` is what is swapped, one option for another.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

THINGS = ("a tent", "a bicycle", "a laptop", "a violin", "a drone", "an umbrella", "a camera", "a suitcase", "a guitar",
          "a radio", "a kettle", "a mattress", "a lamp", "a sofa", "a kayak", "a telescope", "a blender", "a stroller",
          "a jacket", "a rug", "a mirror", "a printer", "a helmet", "a blanket")  # fmt: skip
PLACES = ("library", "harbour", "museum", "campsite", "airport", "stadium", "castle", "market", "school", "hospital",
          "beach", "theatre", "park", "office", "hostel", "church", "zoo", "station", "factory", "garden")  # fmt: skip
FOODS = ("rice", "lentils", "bread", "butter", "cheese", "olives", "honey", "spinach", "pasta", "beans", "yoghurt",
         "almonds", "salmon", "beef", "apples", "potatoes", "tomatoes", "coffee", "chocolate", "mushrooms")  # fmt: skip
CITIES = ("Hamburg", "Lyon", "Porto", "Krakow", "Bristol", "Turin", "Ghent", "Graz", "Bilbao", "Tampere", "Brno",
          "Oslo", "Denver", "Osaka", "Lima", "Nairobi", "Perth", "Quito", "Seville", "Leeds")  # fmt: skip
FIRMS = (
    "Siemens",
    "Toyota",
    "Nestle",
    "Nokia",
    "Samsung",
    "Philips",
    "Volvo",
    "Sony",
    "Bayer",
    "Intel",
    "Lego",
    "Ikea",
)
SKILLS = ("swim", "juggle", "draw", "type", "knit", "surf", "paint", "cook", "ski", "dance", "code", "sing")
MONTHS = ("January", "February", "April", "June", "July", "August", "September", "October", "November", "December")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONEY = ("dollars", "euros", "yen", "rupees", "pesos", "francs", "pounds", "rubles")
SMALL = ("2", "3", "4", "5", "6", "7", "8", "9", "11", "12", "14", "15", "18", "20", "25", "30", "40", "60")
WAYS = ("quickly", "cheaply", "online", "abroad", "at night", "by phone", "in winter", "with a group")

SLOTS = {"thing": THINGS, "place": PLACES, "food": FOODS, "city": CITIES, "skill": SKILLS, "way": WAYS, "n": SMALL,
         "firm": FIRMS, "month": MONTHS, "weekday": WEEKDAYS, "money": MONEY}  # fmt: skip
OPENERS = ("{}", "Hi, {}", "{} Thanks", "Please tell me: {}", "Quick question: {}")


class Template(NamedTuple):
    """What is asked, the same in other words, and what may stand for ``{x}``; a direction swaps its two ends."""

    kind: str
    asked: str
    reworded: str
    options: tuple[str, ...]


class Swap(NamedTuple):
    """A pair (asked, stored) of one kind, and whether the answer to the stored one is right."""

    kind: str
    asked: str
    stored: str
    right: bool


def _templates() -> tuple[Template, ...]:
    lines = Path(__file__).with_name("swaps.txt").read_text().splitlines()[1:]
    return tuple(
        Template(kind, asked, reworded, SLOTS[options[1:]] if options.startswith("=") else tuple(options.split(",")))
        for kind, asked, reworded, options in (line.split(" | ") for line in lines)
    )


TEMPLATES = _templates()
KINDS = tuple(dict.fromkeys(template.kind for template in TEMPLATES))


def swaps(each: int, seed: int = 0) -> list[Swap]:
    """``each`` pairs of every kind, half of them right; no question stands in two of them."""
    draw, used = random.Random(seed), set[str]()
    return [pair for kind in KINDS for pair in islice(_new(_endless(kind, draw), used), each)]


def _new(pairs: Iterator[Swap], used: set[str]) -> Iterator[Swap]:
    for pair in pairs:
        if pair.asked != pair.stored and used.isdisjoint(pair[1:3]):
            used.update(pair[1:3])
            yield pair


def _endless(kind: str, draw: random.Random) -> Iterator[Swap]:
    """Right and wrong in turn; of both, half in the form that was asked and half in other words."""
    templates = [template for template in TEMPLATES if template.kind == kind]
    while True:
        for right in (True, False):
            template = draw.choice(templates)
            words = {name: draw.choice(values) for name, values in SLOTS.items()}
            one, other = draw.sample(template.options, 2)
            mine, theirs = {"x": one, "a": one, "b": other}, {"x": other, "a": other, "b": one}
            form = draw.choice((template.asked, template.reworded))
            stored = form.format(**words, **(mine if right else theirs))
            if right and form == template.asked:
                stored = draw.choice(OPENERS).format(stored.lower() if draw.random() < 0.5 else stored)
            yield Swap(kind, template.asked.format(**words, **mine), stored, right)
