"""Page templates: everything is escaped, and the policy's hashes are those of the style and script."""

import base64
import hashlib
import sys

import pytest

from neurolocal.errors import NeurolocalError
from neurolocal.render.page_templates import digest, environment, head, markup

jinja2 = pytest.importorskip("jinja2", reason="pages need the extra `site`")


@pytest.fixture
def rendered(tmp_path):
    """Render a template text with some values."""

    def render(template, **values):
        (tmp_path / "page.html").write_text(template)
        return environment([tmp_path], doing="writing the page").get_template("page.html").render(**values)

    return render


def test_values_are_escaped_and_markup_is_not(rendered):
    assert rendered('<i a="{{ x }}">{{ x }}</i>', x="\"<b>'&{{ 1 }}") == (
        '<i a="&#34;&lt;b&gt;&#39;&amp;{{ 1 }}">&#34;&lt;b&gt;&#39;&amp;{{ 1 }}</i>'
    )
    assert rendered("{{ style }}", style=markup("a > b {}")) == "a > b {}"


def test_an_undefined_name_is_an_error(rendered):
    with pytest.raises(jinja2.UndefinedError, match="'x' is undefined"):
        rendered("{{ x }}")


def test_the_first_folder_that_has_a_template_is_used(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.html").write_text(name)
    (tmp_path / "b" / "only.html").write_text("only b")
    made = environment([tmp_path / "a", tmp_path / "b"], doing="writing the page")
    assert [made.get_template(name).render() for name in ("page.html", "only.html")] == ["a", "only b"]


def test_the_head_without_a_template_is_that_of_the_template(tmp_path):
    policy = f"default-src 'none'; style-src {digest('a {}')}"
    (tmp_path / "page.html").write_text('{% include "head.html" %}')
    made = environment([tmp_path], doing="writing the page").get_template("page.html").render(policy=markup(policy))
    assert head(policy) == made
    assert policy in made


def test_digest_is_the_sha256_of_the_utf8_text():
    expected = base64.b64encode(hashlib.sha256("é".encode()).digest()).decode()
    assert digest("é") == f"'sha256-{expected}'"


def test_without_jinja2_the_error_names_the_task_and_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(NeurolocalError, match=r"^exporting: jinja2 is not .* pip install 'neurolocal\[site\]'"):
        environment([tmp_path], doing="exporting")


def test_values_are_made_visible_and_line_breaks_stay(rendered):
    assert rendered("<pre>{{ x }}</pre>", x="a\x1b[31m\u202e\nb\u2066") == (
        "<pre>a⟨U+001B⟩[31m⟨U+202E⟩\nb⟨U+2066⟩</pre>"
    )
    assert rendered("{{ x }}{{ 3 }}{{ 2.5 }}", x="é 日本") == "é 日本32.5"
