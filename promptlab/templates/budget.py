"""What a template may use up on one example: characters and items that it makes or reads, and steps of its loops.

Straight template code takes as many steps as it has parts, which ``language`` bounds. What is counted here is what can
grow: values that operators, methods and filters make, names that are read again and again, loops and macros.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import TypeVar

from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext

WORK = 1_000_000  # characters and steps on one example
PER_CHARACTER = 50  # more for each character of the example's own fields
ITEM = 10  # what an item of a list counts as
STEP = 10  # what a part of a loop or a macro counts as, each time that it is run
PRINTED = 200_000  # characters of a prompt
PRINTED_PER_CHARACTER = 10  # more for each character of the example's own fields
MOST = 10**8  # beyond which no size is counted
COLLECTIONS = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)

Value = TypeVar("Value")


class Budget(Context):
    """The context of one rendering, which knows how much work is left."""

    left = WORK
    is_extended = False

    def spend(self, amount: int) -> None:
        """Count work; an example whose own texts are long may take more.

        Raises:
            SecurityError: if too little is left.
        """
        if amount > self.left and not self.is_extended:
            self.is_extended = True
            self.left += PER_CHARACTER * self.size_of_fields()
        self.left -= amount
        if self.left < 0:
            raise SecurityError(
                f"it makes or reads more than {WORK:,} characters, items and steps on one example; write a simpler one"
            )

    def size_of_fields(self) -> int:
        """Count the characters of the example's fields."""
        return size(self.parent, MOST)

    def read(self, value: Value) -> Value:
        """Return the value, once its size is paid for."""
        amount = size(value, self.left)
        if amount > self.left:
            self.spend(amount)  # which raises, or finds that more may be spent, so that all is counted
            amount = size(value, self.left)
        self.left -= amount
        return value

    def made(self, value: object) -> object:
        """Return a value that was made, once its size is paid for; items that would come one by one as a list."""
        if isinstance(value, Iterator) and not isinstance(value, LoopContext):
            return self.read(list(value))
        return self.read(value)

    def joined(self, values: Sequence[object]) -> str:
        """Join texts, as ``~`` does."""
        self.read(values)
        return "".join(map(str, values))

    def sliced(self, value: Sequence[object], *bounds: int | None) -> Sequence[object]:
        """Cut a value, such as ``text_a[:20]``."""
        return self.read(value[slice(*bounds)])


def size(value: object, limit: int) -> int:
    """Count the characters and items of a value, and of what it holds; past the limit it isn't counted on."""
    if isinstance(value, str):
        return len(value)
    total, waiting = 1, [value]
    while waiting and total <= limit:
        item = waiting.pop()
        if isinstance(item, (str, range)):
            total += len(item)
        elif isinstance(item, int):
            total += item.bit_length() // 8
        elif isinstance(item, Mapping):
            total += ITEM * (len(item) + 1)
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, COLLECTIONS):
            total += ITEM * (len(item) + 1)
            waiting += item
    return total
