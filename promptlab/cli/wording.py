"""Messages of the library in the words of the command line: options of the command instead of Python's arguments."""

from __future__ import annotations

import re
import shlex
from functools import partial

import click

QUOTES = "'\""
ALIASES = {"eval_set": "dev", "dev": "wants_dev"}  # arguments of options of another name
PHRASES = (  # pattern, the parameter that a command must have (none: any), what is said instead
    (r"\bsave_pretrained wrote", "", "promptlab fit, ensemble or distill wrote"),
    (r"\beval_set\b(?!=)", "dev", "--dev"),
    (r"\b(a )?MultiTokenVerbalizer\b", "answers", "--answers strings"),
    (r"\bHeadClassifier\b", "head", "--head"),
    (r"\bcolumns=\{'(\w+)': …\}", "columns", r"--column \1=COLUMN"),
    (r" \(None for no labels\)", "label", ""),
    (r"\bby columns=(?=\.)", "column", "by --column"),
    (r"\braise max_length\b", "max_length", "raise --max-length"),
    (r"\bk=(\d+) demonstrations are asked for\b", "demonstrations", r"--demonstrations \1 are asked for"),
    (r"(?<=labeled examples); lower k\b", "demonstrations", "; ask for fewer"),
    (r"; pass y, or label every example", "label", "; label every row"),
    (r"; pass y, with -1 or None where there is none", "label", "; label some, -1 where there is none"),
    (r"\bcall fit with another\b", "tuning", "choose another --tuning"),
    (r"\buse ContextualCalibration\b", "calibrate", "take --calibrate contextual"),
)
_VALUE = r"""(?:(?P<value>'[^']*'|"[^"]*"|-?\w[\w./-]*\b)(?![(\[{])|(?![\w'"(\[{…-]))"""


def in_options(message: str, command: click.Command | None) -> str:
    """A message about arguments as one about options, as far as the command has them.

    ``max_steps=5`` → ``--max-steps 5``, ``encoding=`` → ``--encoding``; what names both names the option once.
    """
    parameters = () if command is None else command.params
    options = {str(option.name): option for option in parameters if isinstance(option, click.Option)}
    for pattern, parameter, words in PHRASES:
        if not parameter or parameter in options:
            message = re.sub(pattern, words, message)
    named = options | {name: options[other] for name, other in ALIASES.items() if other in options}
    for name, option in named.items():
        message = re.sub(rf"(?<![\w.-]){name}={_VALUE}", partial(_as_option, option), message)
    return re.sub(r"(--[\w-]+(?: [\w-]+)?) \(\1\b[^)]*\)", r"\1", message)


def _as_option(option: click.Option, argument: re.Match[str]) -> str:
    value = argument["value"]
    name = max(option.opts, key=len)
    if value is None:
        return name
    if value == "None":
        return f"no {name}"
    if option.is_flag:
        return name if value == "True" else (option.secondary_opts or [f"no {name}"])[0]
    return f"{name} {value if value[0] not in QUOTES else shlex.quote(value[1:-1])}"
