"""Pages and tables of the documentation that are made from the repository; mkdocs.yml names this file as a hook.

    python docs/generate.py      # write the table of algorithms into README.md

The site holds the documents of docs/ and OUTSIDE, a page of the API for each package, and the options of all commands.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {  # page of the site -> document in the repository
    "index.md": "README.md",
    "results/swbd.md": "recipes/swbd/RESULTS.md",
    "results/digits.md": "recipes/digits/RESULTS.md",
    "results/an4.md": "recipes/an4/RESULTS.md",
    "results/speed.md": "benchmarks/RESULTS.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
PACKAGES = (
    "parallel", "nnet", "training", "pretraining", "clock", "compare", "decode", "features", "hmm", "corpus", "record",
)  # fmt: skip
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {page: (ROOT / document).read_text(encoding="utf-8") for page, document in OUTSIDE.items()}
    pages |= {f"api/{name}.md": f"# asr_parallel.{name}\n\n::: asr_parallel.{name}\n" for name in PACKAGES}
    pages["commands.md"] = commands_page()
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages; those to code and folders become text."""
    here = page.file.src_uri
    source = OUTSIDE.get(here, f"docs/{here}")
    pages = {document: name for name, document in OUTSIDE.items()}

    def rewritten(match: re.Match[str]) -> str:
        target = os.path.normpath(Path(source).parent / match[1])
        uri = pages.get(target, target.removeprefix("docs/") if target.startswith("docs/") else "")
        return os.path.relpath(uri, Path(here).parent) if uri else match[1]

    return re.sub(LINK, rewritten, _without_links_to_code(markdown, source))


def _without_links_to_code(markdown: str, source: str) -> str:
    def text(match: re.Match[str]) -> str:
        target = os.path.normpath(Path(source).parent / match[2])
        shown = target.startswith("docs/") or target in OUTSIDE.values() or not (ROOT / target).exists()
        return match[0] if shown else match[1]

    return re.sub(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)\s#]+)[^)]*\)", text, markdown)


def commands_page() -> str:
    """Return a page with the options of every command of asr-parallel, in Markdown."""
    from asr_parallel.cli.main import VERBS, build_parser

    lines = ["# Commands", "", "`asr-parallel VERB ...`; the options of recipes are shown by `run.sh --help`.", ""]
    for verb, (_, purpose) in VERBS.items():
        verbs = next(a for a in build_parser(verb)._actions if isinstance(a, argparse._SubParsersAction))
        sources = _sources(verb)
        lines += [f"## {verb}", "", purpose[0].upper() + purpose[1:] + ".", ""]
        for group in verbs.choices[verb]._action_groups:
            options = [one for one in group._group_actions if not isinstance(one, argparse._HelpAction)]
            title = "" if group.title in ("options", "positional arguments") else (group.title or "")
            lines += [f"**{title[0].upper()}{title[1:]}**", ""] if options and title else []
            lines += ["| option | meaning |", "|---|---|"] if options else []
            for one in options:
                source = f"; source: {found}" if (found := sources.get(one.dest)) else ""
                lines.append(f"| `{_flag(one)}` | {_escaped((one.help or '') % vars(one) + source)} |")
            lines.append("")
    return "\n".join(lines)


def _sources(verb: str) -> dict[str, str]:
    """Return where the defaults of a verb's options are from, by the option's name."""
    import importlib

    from asr_parallel.record.options import about, walk
    from asr_parallel.record.program import VERBS

    groups = importlib.import_module(VERBS[verb][0]).option_groups()
    return {one.name: about(one).source for group in groups for _, one, _ in walk(group)}


def _flag(option: argparse.Action) -> str:
    if isinstance(option, argparse.BooleanOptionalAction):
        return option.option_strings[0].replace("--", "--[no-]")
    name = option.option_strings[0] if option.option_strings else option.dest
    choices = f"{{{','.join(option.choices)}}}" if option.choices else ""
    values = "" if option.nargs == 0 else option.metavar or choices or option.dest.upper()
    return f"{name} {values}".strip()


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def algorithms_table() -> str:
    """Return the table of all registered algorithms, in Markdown."""
    from asr_parallel.parallel import registry

    lines = ["| `--algorithm` | paper | rule | when to use it |", "|---|---|---|---|"]
    for name in registry.names():
        about = registry.entry(name)
        lines.append(f"| `{name}` | {about.paper} | {about.rule} | {about.use} |")
    return "\n".join(lines)


def with_algorithms_table(text: str, table: str) -> str:
    """Return a document with the table between its markers replaced."""
    begin, end = "<!-- algorithms: made by docs/generate.py -->\n", "\n<!-- end of algorithms -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise ValueError(f"no place for the table of algorithms; expected {begin.strip()!r} and {end.strip()!r}")
    return before + begin + table + end + after


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    readme = ROOT / "README.md"
    readme.write_text(with_algorithms_table(readme.read_text(encoding="utf-8"), algorithms_table()), encoding="utf-8")
