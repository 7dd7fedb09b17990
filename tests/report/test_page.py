"""The page as text: it needs nothing from outside, and takes no name for markup."""

import re
from collections.abc import Callable
from functools import cache
from html import unescape
from html.parser import HTMLParser

import made_up
import pytest
from jinja2 import UndefinedError

from asr_parallel.report.comparison import Comparison
from asr_parallel.report.differences import contestants
from asr_parallel.report.figures import house_style
from asr_parallel.report.groups import summarise
from asr_parallel.report.page import page
from asr_parallel.report.templates import environment
from asr_parallel.report.write_report import draw


@cache
def written(make: Callable[[], Comparison]) -> str:
    with house_style():
        return page(make(), draw(make()))


class Tags(HTMLParser):
    """All tags with their attributes, and all texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_templates_escape_values_and_leave_markup() -> None:
    template = environment().from_string(
        '{% macro bold(text) %}<b>{{ text }}</b>{% endmacro %}<p class="{{ quote }}">{{ tag }}{{ bold("&") }}'
        'x{{ null }}</p><p{{ {"title": none, "data-value": one} | xmlattr }}></p>'
    )
    assert template.render(quote='"', tag="<b>", null="\x00", one="1") == (
        '<p class="&#34;">&lt;b&gt;<b>&amp;</b>x\N{REPLACEMENT CHARACTER}</p><p data-value="1"></p>'
    )
    with pytest.raises(UndefinedError):
        environment().from_string("{{ unknown }}").render()


@pytest.mark.parametrize("make", [made_up.comparison, made_up.bare, made_up.hostile])
def test_nothing_is_fetched_and_every_id_is_its_own(make: Callable[[], Comparison]) -> None:
    text = written(make)
    tags = Tags(text)
    assert tags.open == []
    for tag, attributes in tags.tags:
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "src"
            if name == "href":
                assert value is not None and value.startswith("#")
            for inside in re.findall(r"url\(([^)]*)\)", value or ""):
                assert inside.startswith("#")
        assert tag not in ("link", "img", "iframe", "object")
    assert not re.search("@import|https?://|//cdn", text)
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    known = {f"#{name}" for name in ids}
    assert {value for _, a in tags.tags for name, value in a.items() if name == "href"} <= known


def test_hostile_names_are_text() -> None:
    tags = Tags(written(made_up.hostile))
    assert [tag for tag, _ in tags.tags].count("script") == 1  # our own
    shown = made_up.HOSTILE.replace("\x1b", "\N{REPLACEMENT CHARACTER}").replace("\n", " ")
    assert tags.texts.count(shown) >= 8
    assert "\x1b" not in written(made_up.hostile)


def test_what_must_be_there() -> None:
    comparison = made_up.comparison()
    text = written(made_up.comparison)
    texts = Tags(text).texts
    for heading in (
        "Difference from one worker",
        "WER against speedup", "Means over seeds", "Held-out loss", "Efficiency and bytes sent", "Where the time goes",
        "Every training", "Published by others", "How this was made", "Machine", "Versions", "Seeds", "Commands",
    ):  # fmt: skip
        assert heading in texts
    assert "synthetic speech" in texts and "ValueError: worker 5: loss is not finite" in texts
    assert "made-up 2000" in texts and "2.13.0" in texts and "1, 2, 3" in texts
    assert all(cell.name in texts for cell in comparison.cells)
    assert comparison.commands[0] in re.sub("<[^>]*>", "", text)
    assert "WER on eval of 3,058 words, dev of 1,383 words, scored by asr-parallel hub5." in text
    assert text.count("<svg") == 11 and text.count("<title>average, ng-sgd, K = 4") >= 4


def test_every_command_of_a_training_has_a_line() -> None:
    text = written(made_up.comparison)
    lines = [re.sub("<[^>]*>", "", line) for line in re.findall("<div><code>.*?</code></div>", text)]
    made = [line for cell in made_up.comparison().cells for line in (cell.command or "none recorded").split(" && ")]
    assert [unescape(line).removesuffix(" &&") for line in lines] == made
    assert sum(line.endswith(" &amp;&amp;") for line in lines) > 90


def test_figures_and_tables_name_words_scorer_and_synthetic_speech() -> None:
    text = written(made_up.comparison)
    figures = re.findall("<figcaption>(.*?)</figcaption>", text)
    tables = [c for c in re.findall("<caption>(.*?)</caption>", text) if "Headings sort" in c]
    assert len(figures) == 11 and len(tables) == 4
    assert all("Synthetic speech." in caption for caption in figures + tables)
    assert sum("WER on eval of 3,058 words, scored by asr-parallel hub5." in caption for caption in figures) == 3
    assert "ynthetic speech" not in written(made_up.bare) and "Nothing was scored." in written(made_up.bare)


def test_published_figures_stand_apart() -> None:
    text = re.sub("<svg.*?</svg>", "", written(made_up.comparison), flags=re.DOTALL)
    start = text.index('<section id="published"')
    end = text.index("</section>", start)
    assert "arXiv 1507.01239, abstract" in text[start:end] and "Not ours." in text[start:end]
    assert "43.65" in text[start:end] and "43.65" not in text[:start] + text[end:]


def test_columns_of_the_clocks_are_marked() -> None:
    for tag, attributes in (tags := Tags(written(made_up.comparison))).tags:
        assert tag not in ("th", "td") or attributes.get("class") in (None, "text", "text bad", "measured", "modelled")
    heads = re.findall(r'<th scope="col"(?: class="(\w+)")?>([^<]*)</th>', written(made_up.comparison))
    assert len(heads) > 40 and tags.texts
    for kind, title in heads:
        for clock in ("measured", "modelled"):
            assert (clock in title) == (kind == clock)


def test_the_same_comparison_gives_the_same_page() -> None:
    with house_style():
        assert page(made_up.bare(), draw(made_up.bare())) == written(made_up.bare)


def test_the_first_figure_is_the_paired_difference_with_its_table() -> None:
    text = written(made_up.comparison)
    assert text.index('<section id="difference"') < text.index("<svg") < text.index('<section id="wer"')
    start, end = text.index('<section id="difference"'), text.index('<section id="wer"')
    found = contestants(made_up.comparison(), summarise(made_up.comparison()))
    assert text[start:end].count('<th scope="row">') == len(found)
    assert all(one.wer["eval"].said in text[start:end] for one in found)
    end = text.index('<section id="loss"')
    assert text[text.index('<section id="summary"') : end].count("<li>elastic, ng-sgd, K = 8: 20 synchronizations") == 1
    assert "No system has a single worker" in written(made_up.bare)
