"""How a command tells what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from promptlab.cli.groups import OptionGroup, flag


@dataclass(frozen=True)
class ReportOptions(OptionGroup):
    """For people, or for machines."""

    title: ClassVar[str] = "Report"

    as_json: bool = flag("--json", help="Print JSON for machines.")
