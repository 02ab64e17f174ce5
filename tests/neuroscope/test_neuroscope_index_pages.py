"""The pages around the neurons' pages: every link leads to a file."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from urllib.parse import urljoin


def test_every_address_is_there_and_every_link_leads_to_a_file(made):
    _, site = made
    files = {str(p.relative_to(site)) for p in site.rglob("*.html")}
    around = {"index.html", "random.html", "stories/index.html", "stories/model.html", "stories/random.html"}
    around |= {f"stories/{layer}/{name}.html" for layer in (0, 3) for name in ("index", "random")}
    assert files == around | {f"stories/{layer}/{n}.html" for layer in (0, 3) for n in (0, 1, 5, 90, 171)}
    for file in files:
        page = (site / file).read_text("utf-8")
        links = re.findall(r'href="([^"]*)"', page) + re.findall(r"url=([^\"]*)\"", page)
        assert links
        for link in links:
            assert urljoin(f"x:///{file}", link).removeprefix("x:///") in files or (
                os.path.normpath(Path(file).parent / link) in files
            ), (file, link)
    assert "small &lt;b&gt;" in (site / "index.html").read_text()
    jumps = json.loads(html.unescape(re.findall('data-pages="(.*?)"', (site / "random.html").read_text())[0]))
    ranges = [[0, 1], [5, 5], [90, 90], [171, 171]]
    assert jumps == [["stories/0/", ranges], ["stories/3/", ranges]]
    page = (site / "stories/0/5.html").read_text("utf-8")
    assert re.findall('rel="(?:prev|next)" href="(.*?)"', page) == ["1.html", "90.html"]
    assert 'rel="prev"' not in (site / "stories/0/0.html").read_text("utf-8")
