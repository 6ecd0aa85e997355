"""The slices that are made: values out of short texts, and sums of one or two steps, from fixed seeds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice
from types import MappingProxyType

from . import Asked

NAMES = (
    "Maria Keller", "Tom Okafor", "Lena Fischer", "Ravi Menon", "Sofia Marino", "Jan Novak", "Aisha Bello",
    "Peter Lindqvist", "Yuki Tanaka", "Carla Mendes", "Omar Haddad", "Nina Petrova", "Luis Ortega", "Grace Owusu",
    "Eva Horvath", "Daniel Weiss", "Priya Nair", "Mark Dubois", "Ines Costa", "Karl Berg",
)  # fmt: skip
FIRST = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Gina", "Hugo", "Ida", "Jonas", "Kira", "Leo", "Mia",
         "Noah")  # fmt: skip
CITIES = ("Hamburg", "Lyon", "Porto", "Krakow", "Bristol", "Turin", "Malmo", "Ghent", "Graz", "Bilbao", "Tampere",
          "Brno")  # fmt: skip
GOODS = ("desk lamp", "coffee grinder", "office chair", "rain jacket", "bike lock", "monitor stand", "water filter",
         "backpack", "keyboard", "standing desk", "router", "tent", "blender", "yoga mat", "camera strap")  # fmt: skip
THINGS = ("apples", "pens", "tickets", "books", "stamps", "bottles", "chairs", "stickers", "cards", "candles")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip


def day(draw: random.Random) -> str:
    """A date as a person writes it."""
    return f"{draw.randint(1, 28)} {draw.choice(MONTHS)} {draw.choice((2023, 2024, 2025))}"


def code(draw: random.Random, letters: int, digits: int) -> str:
    """An identifier of capital letters and digits."""
    head = "".join(draw.choice("ABCDEFGHKLMNPRSTVWX") for _ in range(letters))
    return f"{head}-{draw.randint(10 ** (digits - 1), 10**digits - 1)}"


def money(draw: random.Random) -> str:
    """An amount with two decimals."""
    return f"{draw.randint(4, 1900)}.{draw.randint(0, 99):02d}"


# What is asked, the judge, and two ways to ask it.
WANTED = {
    "name": ("contains", "Who is the customer?", "What is the name of the customer?"),
    "order": ("contains", "What is the order number?", "Give the number of the order."),
    "tracking": ("contains", "What is the tracking code?", "Which tracking code is mentioned?"),
    "paid": ("number", "How much was paid in total?", "What was the total that was paid?"),
    "refund": ("number", "How much is to be refunded?", "What is the amount of the refund?"),
    "ordered": ("contains", "On what date was it ordered?", "When was the order placed?"),
    "due": ("contains", "By what date must it be settled?", "What is the deadline?"),
    "city": ("contains", "To which city does it go?", "What is the destination city?"),
    "item": ("contains", "What product is it about?", "Which product is concerned?"),
    "agent": ("contains", "Who handled the case?", "Which employee dealt with it?"),
}
TEXTS = (
    "{name} ordered a {item} on {ordered} (order {order}) and paid {paid} EUR. It ships to {city}.",
    "Order {order}: {item} for {name}, shipped to {city}, tracking {tracking}. Paid {paid} EUR on {ordered}.",
    "{agent} spoke with {name} about order {order}. The {item} broke; {refund} EUR of {paid} EUR go back by {due}.",
    "Hi, {name} here. My {item} never reached {city}. Order {order}, parcel {tracking}, placed {ordered}.",
    "Case closed by {agent}: customer {name}, {item}, refund {refund} EUR, original price {paid} EUR, order {order}.",
    "Invoice for {name}: {item}, {paid} EUR, ordered {ordered}, payable until {due}. Reference {order}.",
    "Parcel {tracking} ({item}, order {order}) left for {city} on {ordered}; {name} will be called by {agent}.",
)


def extraction_ask(draw: random.Random) -> Asked:
    """A short business text and one value to find in it."""
    customer, agent = draw.sample(NAMES, 2)
    ordered, due = day(draw), day(draw)
    values = {
        "name": customer, "agent": agent, "item": draw.choice(GOODS), "city": draw.choice(CITIES),
        "order": code(draw, 2, 5), "tracking": code(draw, 3, 7), "paid": money(draw), "refund": money(draw),
        "ordered": ordered, "due": due,
    }  # fmt: skip
    text = draw.choice(TEXTS)
    if "{refund}" in text:  # nobody gets more back than was paid
        values["refund"], values["paid"] = sorted((values["refund"], values["paid"]), key=float)
    wanted = draw.choice([key for key in WANTED if f"{{{key}}}" in text])
    match, first, second = WANTED[wanted]
    written = text.format(**values)
    return Asked(f"{written}\n{first}", values[wanted], match, (f"{written}\n{second}",))


def one_step(draw: random.Random) -> tuple[str, str, int]:
    """A bare sum, asked twice."""
    a, b, small = draw.randint(5, 60), draw.randint(5, 40), draw.randint(2, 9)
    return draw.choice(
        (
            (f"What is {a} + {b}?", f"Add {a} and {b}.", a + b),
            (f"What is {a + b} - {b}?", f"Subtract {b} from {a + b}.", a),
            (f"What is {b} x {small}?", f"Multiply {b} by {small}.", b * small),
            (f"What is {b * small} divided by {small}?", f"Divide {b * small} by {small}.", b),
            (f"What is {a * 10 + small} + {b * 10}?", f"Sum of {a * 10 + small} and {b * 10}?", (a + b) * 10 + small),
            (f"What is {small * 10} percent of {b * 10}?", f"Take {small * 10} % of {b * 10}.", small * b),
        )
    )  # fmt: skip


def story(draw: random.Random) -> tuple[str, str, int]:
    """A small story of one or two steps, told twice."""
    who, other = draw.sample(FIRST, 2)
    what = draw.choice(THINGS)
    a, b, small = draw.randint(12, 50), draw.randint(2, 9), draw.randint(2, 8)
    return draw.choice(
        (
            (f"{who} has {a} {what} and gives {b} to {other}. How many {what} does {who} have left?",
             f"Out of {a} {what}, {who} hands {b} to {other}. How many remain with {who}?", a - b),
            (f"{who} buys {b} boxes with {small} {what} each. How many {what} is that?",
             f"How many {what} are in {b} boxes of {small} {what}?", b * small),
            (f"{who} buys {b} boxes with {small} {what} each and already had {a}. How many {what} now?",
             f"With {a} {what} at home, {who} adds {b} boxes of {small} {what}. What is the total?", a + b * small),
            (f"One ticket costs {small} euros. {who} buys {b} and pays with 100 euros. How much change?",
             f"{who} pays {b} tickets at {small} euros each with a 100 euro note. What comes back?", 100 - b * small),
            (f"A train has {b} cars with {a} seats each. {small} seats are broken. How many seats work?",
             f"Of {b} cars with {a} seats apiece, {small} seats are out of order. How many are usable?", a * b - small),
            (f"{who} reads {small} pages a day. How many pages in {b} days, after {a} already read?",
             f"After {a} pages, {who} goes on with {small} pages daily for {b} days. How many pages in all?",
             a + small * b),
            (f"{who} is {small} years older than {other}, who is {a}. How old is {who}?",
             f"{other} is {a}. {who} was born {small} years before. What is {who}'s age?", a + small),
            (f"{small * b} {what} are shared equally among {b} children. Then each gets 2 more. How many has each?",
             f"{b} children split {small * b} {what} evenly, then receive 2 more each. How many per child?", small + 2),
        )
    )  # fmt: skip


def hard(draw: random.Random) -> tuple[str, str, int]:
    """Two steps with larger numbers: this is where a small model fails."""
    a, b, c = draw.randint(12, 48), draw.randint(12, 29), draw.randint(11, 99)
    return draw.choice(
        (
            (f"What is {a} x {b} + {c}?", f"Multiply {a} by {b}, then add {c}.", a * b + c),
            (f"What is ({a} + {c}) x {b}?", f"Add {a} and {c} and multiply the sum by {b}.", (a + c) * b),
            (f"What is {a} x {b}?", f"What do {a} times {b} make?", a * b),
            (f"A hall has {a} rows of {b} seats and {c} guests came. How many seats are empty?",
             f"{c} guests sit in a hall with {a} rows of {b} seats. How many seats stay free?", a * b - c),
        )
    )  # fmt: skip


def arithmetic_ask(draw: random.Random) -> Asked:
    """One sum, of mixed difficulty."""
    first, second, answer = draw.choices((one_step, story, hard), (50, 40, 10))[0](draw)
    return Asked(first, str(answer), "number", (second,))


def made(ask: Callable[[random.Random], Asked], seed: str, count: int, twice: int) -> Iterator[Asked]:
    """`count` different questions, of which the first `twice` keep their paraphrase."""
    draw = random.Random(seed)
    seen: set[str] = set()

    def fresh() -> Iterator[Asked]:
        while True:
            asked = ask(draw)
            if asked.query not in seen:
                seen.update((asked.query, *asked.paraphrases))
                yield asked

    for place, asked in enumerate(islice(fresh(), count)):
        yield asked if place < twice else asked._replace(paraphrases=())


SLICES: MappingProxyType[str, Callable[[], Iterator[Asked]]] = MappingProxyType(
    {
        "extraction": lambda: made(extraction_ask, "extraction", 320, 44),
        "arithmetic": lambda: made(arithmetic_ask, "arithmetic", 310, 58),
    }
)
