"""Templates put together by chance from all that Jinja and Python offer, so that nobody has to think of each attack."""

from __future__ import annotations

import random

from jinja2.filters import FILTERS

NAMES = [
    "text_a", "text_b", "choices", "meta", "n", "big", "x", "y", "z", "m", "loop", "mask", "soft", "sep", "trigger",
    "range", "caller", "varargs", "kwargs", "self",
]  # fmt: skip
CONSTANTS = [
    "1", "0", "-1", "9999", "10**9", "1000000000", "2.5", "1e300", "none", "true", "'a'", "''", "'%s'", "'%999d'",
    "'ab'*9999", "'a'*400000", "['a']*20000", "[1,2]", "(1,'x')", "{'a':1}", "range(9999)", "text_a*3000",
]  # fmt: skip
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "not in", "and", "or"]
TESTS = ["defined", "in", "odd", "lower", "iterable", "divisibleby", "sameas", "mapping", "eq"]
METHODS = [name for kind in (str, list, dict, int, tuple, float) for name in dir(kind)] + ["segment", "cycle", "index"]
ALL_FILTERS = [*FILTERS, "keep", "lower_first", "upper_first", "strip_punctuation"]


class RandomTemplates:
    """Draw templates.

    Args:
        seed: of drawing.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.one = self.random.choice

    def template(self, depth: int = 4) -> str:
        """Draw a statement, with others inside."""
        if depth == 0 or self.random.random() < 0.35:
            return f"{{{{ {self.expression(4)} }}}}"
        name, inner, inside = self.one("xyz"), self.template(depth - 1), self.expression(2)
        return self.one(
            [
                f"{{% set {name} = {inside} %}}{inner}",
                f"{{% for {name} in {inside} %}}{inner}{inner}{{% endfor %}}",
                f"{{% if {inside} %}}{inner}{{% endif %}}",
                f"{{% macro m({name}={inside}) %}}{inner}{{% endmacro %}}{{{{ m({self._arguments(2)}) }}}}",
                f"{{% set {name} %}}{inner}{{% endset %}}{inner}{{{{ {name} }}}}",
                f"{{% with {name} = {inside} %}}{inner}{{% endwith %}}",
            ]
        )

    def expression(self, depth: int) -> str:
        """Draw an expression, with others inside."""
        if depth == 0 or self.random.random() < 0.3:
            return self.one(self.one([NAMES, CONSTANTS]))
        left, right = self.expression(depth - 1), self.expression(depth - 1)
        return self.one(
            [
                f"({left} {self.one(OPERATORS)} {right})",
                f"({left} | {self.one(ALL_FILTERS)}({self._arguments(depth)}))",
                f"({left}).{self.one(METHODS)}({self._arguments(depth)})",
                f"({left}).{self.one(METHODS)}",
                f"({left})[{right}]",
                f"({left})[{right}:]",
                f"[{left}, {right}]",
                f"{{{left}: {right}}}",
                f"({left} is {self.one(TESTS)})",
                f"({left} if {right} else {left})",
                f"{self.one(NAMES)}({self._arguments(depth)})",
            ]
        )

    def _arguments(self, depth: int) -> str:
        names = self.one(["", "", "", "", "attribute=", "width=", "start=", "count="])
        return ", ".join(names + self.expression(depth - 1) for _ in range(self.random.randrange(3)))
