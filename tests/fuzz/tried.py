"""What the room has tried."""

import collections


class Tried(collections.Counter[str]):
    """How many inputs of a kind were 'read' and 'refused', and how long it took."""

    seconds = 0.0


TRIED: dict[str, Tried] = collections.defaultdict(Tried)
