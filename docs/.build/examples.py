"""
Tell mkdocstrings that a section `Example:` of a docstring is what it calls `Examples:`, so that it shows code as code.
"""

import re

from griffe import Extension, Object


class ExampleSections(Extension):
    """
    Rename the section in every docstring before it is parsed.
    """

    def on_instance(self, *, obj: Object, **_: object) -> None:
        """
        See one object of the package.
        """
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.MULTILINE)
