"""Conversations by chat templates: the text is transformers's, and every message is found where it stands."""

from __future__ import annotations

import pytest
from tokenizer_twins import PIECES, byte_level
from transformers import PreTrainedTokenizerFast

from neurolocal.errors import SubjectError
from neurolocal.subject import chat
from neurolocal.subject.chat import ChatTemplate

CHATML = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}"""
LLAMA = """{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]
{%- else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"""
PREAMBLE = """{% if messages[0].role != 'system' %}<|im_start|>system
You are a user of a user.<|im_end|>
{% endif %}""" + CHATML  # fmt: skip
THINKING = """{% for m in messages %}<{{ m.role }}>{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1] }}
{%- else %}{{ m.content }}{% endif %}{% endfor %}"""
BACKWARDS = "{% for m in messages | reverse %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
REFUSING = "{% if messages[0].role != 'user' %}{{ raise_exception('a user must begin') }}{% endif %}" + CHATML
TEMPLATES = {"ChatML": CHATML, "Llama 2": LLAMA, "preamble": PREAMBLE, "thinking": THINKING, "backwards": BACKWARDS}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_text_is_transformerss_and_messages_stand_where_they_are_said_to(name, rng) -> None:
    theirs = PreTrainedTokenizerFast(tokenizer_object=byte_level("GPT-2"), bos_token="<|end|>", eos_token="<|end|>")
    theirs.chat_template = TEMPLATES[name]
    mine = ChatTemplate(TEMPLATES[name], bos="<|end|>", eos="<|end|>")
    pieces = [piece for piece in PIECES if "think" not in piece]
    found = 0
    for _ in range(60):
        roles = rng.choice(["user", "assistant", "system"], int(rng.integers(1, 6))).tolist()
        messages = [
            {"role": role, "content": "".join(rng.choice(pieces, int(rng.integers(0, 9))).tolist())} for role in roles
        ]
        text, places = mine.render(messages)
        assert text == str(theirs.apply_chat_template(messages, tokenize=False)).removeprefix("<|end|>")
        assert [place.start for place in places] == sorted(place.start for place in places)
        if name == "backwards":  # no order to go by: a place may be missing, and is then the template's
            continue
        assert [place.role for place in places] == roles
        for place, one in zip(places, messages, strict=True):
            said = text[place.start : place.end]
            assert said.strip() == one["content"].strip()
            assert name == "Llama 2" or said == one["content"]
            found += 1
    assert found or name == "backwards"


def test_a_message_that_the_template_shortens() -> None:
    text, places = ChatTemplate(THINKING).render(
        [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "<think>hm</think>because"}]
    )
    assert text == "<user>why?<assistant>because"
    assert [text[a:b] for a, b, _ in places] == ["why?", "because"]


def test_a_template_that_refuses_or_fails() -> None:
    with pytest.raises(ValueError, match="the chat template refuses it: a user must begin"):
        ChatTemplate(REFUSING).render([{"role": "assistant", "content": "x"}])
    with pytest.raises(ValueError, match="the chat template refuses it"):
        ChatTemplate("{{ messages.nothing.at.all }}").render([{"role": "user", "content": "x"}])
    with pytest.raises(ValueError, match="the chat template refuses it"):
        ChatTemplate("{% for %}").render([{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("template", "seconds", "says"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", 1.0, "it took more than"),
        ("{{ 'a' * 9999999999 }}", 60.0, "it took more than 512 MiB of memory"),
        ("{{ 'a'.ljust(99999999) }}", 60.0, "it wrote 100,000,0"),
    ],
)
def test_a_template_that_runs_on_is_refused(template, seconds, says, monkeypatch) -> None:
    """The limit of time is long where another is tested: other work may run beside."""
    monkeypatch.setattr(chat, "SECONDS", seconds)
    with pytest.raises(SubjectError, match=f"chat template: {says}"):
        ChatTemplate(template).render([{"role": "user", "content": "x"}])
