"""For the site: examples in docstrings are code, which Markdown does not see by their `>>>`."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


class Doctests(griffe.Extension):
    """Puts every example into a block of code."""

    def on_object(self, *, obj, **_):
        """Called for each documented object."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(lambda match: f"```pycon\n{match[0]}\n```", obj.docstring.value)
