"""Print the questions as JSON lines; `--count` prints how many there are of each slice and split instead."""

from __future__ import annotations

import sys
from collections import Counter

import msgspec

from . import questions


def main() -> None:
    """Write to standard output."""
    if "--count" in sys.argv[1:]:
        for (slice, split), count in sorted(Counter((q.slice, q.split) for q in questions()).items()):
            print(f"{slice:12} {split:8} {count:5}")
        return
    for question in questions():
        print(msgspec.json.encode(question).decode())


if __name__ == "__main__":
    main()
