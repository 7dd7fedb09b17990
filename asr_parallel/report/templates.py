"""The templates of a report's texts, in which every value is escaped for its format."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

NONE = "–"
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "\N{REPLACEMENT CHARACTER}": "?",
    NONE: "--", "±": r"$\pm$",
}  # fmt: skip


def environment(escaped: Callable[[str], str] = escape) -> Environment:
    """Return the environment of this package's templates.

    Args:
        escaped: what makes a text safe in the template's format; HTML by default. Markup is not escaped again.
    """

    def finalize(value: Any) -> Markup:
        return value if isinstance(value, Markup) else Markup(escaped(printable(str(value))))

    made = Environment(
        loader=FunctionLoader(lambda name: files("asr_parallel.report").joinpath(name).read_text(encoding="utf-8")),
        autoescape=True, finalize=finalize, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
        keep_trailing_newline=True,
    )  # fmt: skip
    made.filters["plain"] = lambda text: Markup(printable(text))
    return made


def printable(text: str) -> str:
    """Return the text in one line, with a replacement character for whatever cannot be shown."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown(text: str) -> str:
    """Return the text without Markdown's special characters."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in text)


def latex(text: str) -> str:
    """Return the text as LaTeX takes it."""
    return "".join(LATEX.get(letter, letter) for letter in printable(text))
