"""
Print the shell commands of README's quick start, one a line: what CI runs is what a reader pastes.
"""

import re
import sys
from pathlib import Path


def commands(readme: str) -> list[str]:
    _, _, rest = readme.partition("\n## Quick start\n")
    section = rest.partition("\n## ")[0]
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    joined = [block.replace("\\\n", " ").strip() for block in blocks]
    return [line for block in joined for line in block.splitlines() if line and not line.startswith("#")]


if __name__ == "__main__":
    print("\n".join(commands(Path(sys.argv[1]).read_text(encoding="utf-8"))))
