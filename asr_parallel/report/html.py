"""HTML built from elements: every text is escaped unless it was built here."""

from collections.abc import Iterable
from html import escape
from xml.etree import ElementTree

from asr_parallel.report.figures import Plot, printable

VOID = {"meta"}


class Html(str):
    """Text that is HTML already."""


Child = str | Iterable["Child"]


def element(_tag: str, *children: Child, **attributes: str | None) -> Html:
    """An element; texts and attributes are escaped, an attribute of None is left out; `_` stands for `-`."""
    named = "".join(
        f' {name.strip("_").replace("_", "-")}="{escape(printable(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{_tag}{named}>" if _tag in VOID else f"<{_tag}{named}>{joined(children)}</{_tag}>")


def joined(children: Iterable[Child]) -> Html:
    """Elements and texts one after the other."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        else:
            parts.append(escape(printable(child)) if isinstance(child, str) else joined(child))
    return Html("".join(parts))


def inline_svg(plot: Plot) -> Html:
    """A figure for the middle of a page: no namespaces, no style, ids that no other figure has, tips as titles."""
    root = ElementTree.fromstring(plot.svg)
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for node in root.iter():
        node.tag = _local(node.tag)
        attributes = {_local(name): value for name, value in node.attrib.items()}
        node.attrib.clear()
        for name, value in attributes.items():
            node.set(name, _own_id(name, value, plot.name))
        tip = plot.tips.get(attributes.get("id", ""))
        if tip is not None:
            title = ElementTree.Element("title")
            title.text = printable(tip)
            node.insert(0, title)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", printable(plot.alt))
    return Html(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _own_id(name: str, value: str, prefix: str) -> str:
    """An id, or a reference to one, with the figure's name before it."""
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href" and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    return value.replace("url(#", f"url(#{prefix}-")
