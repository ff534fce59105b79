"""
What mkdocstrings is told about the package before it writes the reference.
"""

import re
from typing import Final

from griffe import Class, Extension, Object

# Nobody but the engine makes these: how is nobody's business.
MADE_BY_US: Final = {"Context", "Node", "RunResult", "VirtualClock"}


class Reference(Extension):
    """
    Show examples as code, and leave out how things are made that a user only receives.
    """

    def on_instance(self, *, obj: Object, **_: object) -> None:
        """
        See one object of the package.
        """
        if obj.docstring is not None:
            # Of the two, only the plural is a section that is read.
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.MULTILINE)

    def on_class_members(self, *, cls: Class, **_: object) -> None:
        """
        See a class with all that is in it.
        """
        if cls.name in MADE_BY_US:
            cls.members.pop("__init__", None)
