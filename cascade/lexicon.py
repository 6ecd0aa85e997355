"""English words that turn a question into another one: numbers, dates, units, negations, opposites.

Short on purpose: what these lists miss is left to the scorer's other signals, and a word too many
would raise a flag where nothing differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _spread(groups: str) -> dict[str, str]:
    """Each word of each group to the first of its group."""
    return {word: group.split("/")[0] for group in groups.split() for word in group.split("/")}


FUNCTION = _words(
    "a about all also am an and any are as at be been being but by can could did do does doing for from get had has"
    " have he her hers him his how i if in into is it its just may me might mine most must my of on one or our ours"
    " please shall she should so some such than that the their them then there these they this those through to too us"
    " very was we were what when where which while who whom whose why will with would you your yours s ll re ve d m"
)
NEGATIONS = _words(
    "not no never without cannot neither nor none nobody nothing nowhere dont doesnt didnt isnt arent wasnt werent"
    " cant couldnt wont wouldnt shouldnt havent hasnt hadnt aint"
)
NEGATING = ("un", "non", "dis", "in", "im", "ir", "il")
"""What a word is negated with at its front."""

OPENINGS = _words(
    "who whom whose what when where why which how is are was were do does did can could will would should has have"
    " had am may must"
)
MEASURED_HOW = _words("many much long far often old big fast tall deep soon large high")
"""What ``how`` may ask the measure of."""

NUMBERS = _spread(
    "0/zero 1/first 2/two/second/twice 3/three/third 4/four/fourth 5/five/fifth 6/six/sixth 7/seven/seventh"
    " 8/eight/eighth 9/nine/ninth 10/ten/tenth 11/eleven/eleventh 12/twelve/twelfth 13/thirteen 14/fourteen 15/fifteen"
    " 16/sixteen 17/seventeen 18/eighteen 19/nineteen 20/twenty 30/thirty 40/forty 50/fifty 60/sixty 70/seventy"
    " 80/eighty 90/ninety 100/hundred 1000/thousand 1000000/million 1000000000/billion"
)
"""Without ``one``, which is a pronoun more often."""

YEAR = re.compile(r"(?:1[6-9]|2[01])\d\d")


DATES = _spread(
    "january/jan february/feb march april/apr june/jun july/jul august/aug september/sept/sep october/oct"
    " november/nov december/dec monday/mondays tuesday/tuesdays wednesday/wednesdays thursday/thursdays"
    " friday/fridays saturday/saturdays sunday/sundays today tomorrow yesterday tonight spring summer autumn winter"
    " morning noon afternoon evening midnight pm weekend/weekends weekday/weekdays"
)
UNITS = _spread(
    "kg/kgs/kilo/kilos/kilogram/kilograms gram/grams lb/lbs/pound/pounds ounce/ounces/oz stone km/kms/kilometer"
    "/kilometers/kilometre/kilometres mile/miles meter/meters/metre/metres cm/centimeter/centimeters/centimetre"
    "/centimetres mm/millimeter/millimeters inch/inches foot/feet/ft yard/yards liter/liters/litre/litres ml"
    "/milliliter/milliliters gallon/gallons celsius/centigrade fahrenheit kelvin second_/seconds/sec/secs minute"
    "/minutes/min/mins hour/hours/hr/hrs day/days/daily week/weeks/weekly month/months/monthly year/years/yearly"
    "/annual/annually/yrs decade/decades century/centuries dollar/dollars/usd/$ euro/euros/eur/\u20ac sterling/gbp"
    "/quid/\u00a3 rupee/rupees/inr/rs/\u20b9 yen/jpy/\u00a5 yuan/cny/rmb cent/cents percent/%/percentage kb/kilobyte"
    "/kilobytes mb/megabyte/megabytes gb/gigabyte/gigabytes tb/terabyte/terabytes mph kmh watt/watts volt/volts"
    " amp/amps calorie/calories/kcal acre/acres hectare/hectares dozen/dozens lakh/lakhs crore/crores"
)
_OPPOSITES = (
    "safe/unsafe/dangerous/harmful increase/decrease/reduce raise/lower rise/fall before/after buy/sell on/off in/out"
    " into/out with/without up/down start/stop/finish/end/quit begin/end/stop open/close/shut enable/disable"
    " activate/deactivate/cancel add/remove/delete create/delete/destroy install/uninstall send/receive give/take"
    " lend/borrow import/export upload/download push/pull gain/lose win/lose find/lose pass/fail accept/reject/refuse"
    "/decline allow/forbid/ban/prohibit/block/prevent legal/illegal love/hate like/dislike/hate good/bad/evil"
    " best/worst better/worse more/less/fewer most/least maximum/minimum max/min highest/lowest high/low"
    " higher/lower bigger/smaller big/small large/small long/short longer/shorter tall/short deep/shallow fast/slow"
    " faster/slower hot/cold warm/cool old/new/young older/newer/younger early/late earlier/later first/last"
    " previous/next past/future cheap/expensive rich/poor strong/weak hard/easy/soft difficult/easy simple/complex"
    " light/dark/heavy black/white full/empty true/false right/wrong/left correct/incorrect positive/negative"
    " advantage/disadvantage pro/con benefit/risk/drawback/harm strength/weakness male/female man/woman men/women"
    " boy/girl husband/wife boyfriend/girlfriend father/mother dad/mom son/daughter brother/sister king/queen"
    " inside/outside internal/external indoor/outdoor front/back above/below over/under top/bottom north/south"
    " east/west near/far always/never everything/nothing everyone/nobody public/private hire/fire arrive/leave/depart"
    " arrival/departure enter/leave/exit join/leave deposit/withdraw earn/spend save/spend/waste debit/credit"
    " profit/loss asset/liability cause/cure/prevent/treat alive/dead live/die birth/death sleep/wake wet/dry"
    " connect/disconnect lock/unlock block/unblock follow/unfollow subscribe/unsubscribe mute/unmute hide/show"
    " attack/defend encrypt/decrypt encode/decode compress/decompress expand/shrink/contract gain/reduce"
    " freeze/melt/boil heat/cool love/fear day/night morning/evening/night atheist/religious democrat/republican"
    " win/loss input/output upper/lower introvert/extrovert introverted/extroverted approve/deny grant/deny"
    " agree/disagree appear/disappear same/different similar/different possible/impossible single/married"
)


def _forms(word: str) -> Iterable[str]:
    """A word and its regular inflections; some that nobody writes do no harm."""
    stem = word.removesuffix("e")
    yield from (
        word,
        word + "s",
        stem + "es",
        stem + "ed",
        stem + "ing",
        word + word[-1] + "ing",
        word + word[-1] + "ed",
    )


def _opposed() -> dict[str, frozenset[str]]:
    """Every form of a word to every form of its opposites: of the first of a group to the others, and back."""
    against: dict[str, set[str]] = {}
    for group in _OPPOSITES.split():
        first, *others = group.split("/")
        for other in others:
            against.setdefault(first, set()).add(other)
            against.setdefault(other, set()).add(first)
    return {
        form: frozenset(f for other in others for f in _forms(other))
        for word, others in against.items()
        for form in _forms(word)
    }


OPPOSED = _opposed()
