r"""How a GGUF's byte-level BPE cuts a text into words before it merges: one entry for each name that llama.cpp knows.

A GGUF states only the name (`tokenizer.ggml.pre`); what it stands for is in llama.cpp's source, src/llama-vocab.cpp and
src/unicode.cpp, as of the release that `AS_OF` names. The patterns here are Oniguruma's, which the `tokenizers` library
uses. They follow what llama.cpp computes rather than what it writes: its classes of letters in the case-sensitive
patterns (`\p{Lu}`, `\p{Ll}`) hold all letters, `\d` and upper and lower case are ASCII's, and a white space outside
ASCII is in no class of characters that is written out. Tests compare every name with llama.cpp itself.
Cost: nothing; it is a table.
"""

from __future__ import annotations

from typing import NamedTuple

AS_OF = "llama-cpp-python 0.3.36"
"""The release whose names and patterns the table holds."""

DEFAULT = "default"
"""What llama.cpp takes where a file names none."""


class PreTokenizer(NamedTuple):
    """How a text is cut into words, and how a word is merged."""

    splits: tuple[str, ...]
    """Patterns: each cuts what the one before left; a match is a piece, and so is what stands between two matches."""
    ignore_merges: bool = False
    """Whether a word that is a token is taken whole, whatever the merges say."""
    byte_level: bool = True
    """Whether the vocabulary is written in GPT-2's letters for bytes; otherwise in characters, and `<0x0A>` for the
    bytes of those that it lacks."""
    escape: bool = False
    """Whether a space is written as U+2581."""


SHORT = "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
"""English contractions in either case. `(?i:'s)` would also match U+017F, a long s."""

LINES = r"[^\n]+|\n+"

ENDS = r"\s+(?!\S)|\s+"

GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{ENDS}"

DIGIT = r"\p{N}"

PUNCTUATION_WORD = r"[!-/:-@\[-`{-~][A-Za-z]+"

MARKED_WORD = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"

KANA_AND_HAN = "[\u4e00-\u9fa5\u3040-\u30ff]+"

THIRD_DIGIT_FROM_THE_END = r"\G(?:(?<=\p{N})\p{N}{3}|\P{N}*+\p{N}{1,3}(?=(?:\p{N}{3})*+(?!\p{N})))"
"""Digits in threes from the right. What stands before a number stays with its first digits, as in llama.cpp.

Each match begins where the one before ended, so the end of a number is looked for once, not from each of its digits.
"""


def _class(ranges: str) -> str:
    """Code points and ranges of them, in hexadecimal, as they are written inside brackets."""
    return "".join("-".join(rf"\x{{{end}}}" for end in one.split("-")) for one in ranges.split())


def _words(digits: str, *, short: str = f"{SHORT}|", word: str = r"\p{L}+", other: str = r"\p{L}\p{N}") -> str:
    """The pattern of Llama 3 and Qwen 2, and their variants."""
    return (
        rf"{short}[^\r\n\p{{L}}\p{{N}}]?{word}|{digits}| ?[^\s{other}]+[\r\n]*|\s*[\r\n]+|{ENDS}"
    )  # fmt: skip


def _cased(letters: str, digits: str, *, short: str, marks: str = "") -> str:
    """The pattern of GPT-4o and Tekken: ASCII capitals begin a word, other letters count as both cases."""
    upper, lower = f"[{letters}&&[^a-z]]", f"[{letters}&&[^A-Z]]"
    begin = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{begin}{upper}*{lower}+{short}|{begin}{upper}+{lower}*{short}|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|{ENDS}"
    )


LLAMA3 = _words(r"\p{N}{1,3}")
QWEN2 = _words(r"\p{N}")

HAN = _class("4e00-9fff 3400-4dbf 20000-2a6df 2a700-2ebef f900-faff 2f800-2fa1f")

CASED_LETTERS = _class(
    "41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386 388-38a 38c "
    "38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba 1cbd-1cbf 1d00-1d2b "
    "1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 "
    "1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 "
    "2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139 213c-213f 2145-2149 214e 2183 2184 2c00-2c7b "
    "2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 "
    "fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df "
    "1e900-1e943 "
)
"""The letters with two cases, as DeepSeek's pattern lists them."""

HAN_AND_NEIGHBOURS = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff&&\\S]+"
"""DeepSeek's range from U+0800 on."""

DIGITS_THEN_GPT2 = PreTokenizer((r"\p{N}", GPT2))

BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"

DEEPSEEK3 = PreTokenizer(
    (
        r"\p{N}{1,3}",
        KANA_AND_HAN,
        rf"{PUNCTUATION_WORD}|{MARKED_WORD}| ?[\p{{P}}\p{{S}}]+[\r\n]*|\s*[\r\n]+|{ENDS}",
    )
)

CHATGLM = PreTokenizer((LLAMA3,))

GROUPS: dict[PreTokenizer, tuple[str, ...]] = {
    PreTokenizer((r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")): (DEFAULT,),
    PreTokenizer((LLAMA3,), ignore_merges=True): (
        "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
        "glm4", "glm5",
    ),
    PreTokenizer((LLAMA3,)): ("dbrx", "smaug-bpe", "chatglm-bpe"),
    PreTokenizer((r"\p{N}{1,3}", _words(r"\p{N}+")), ignore_merges=True): ("minicpm5",),
    PreTokenizer(
        (
            rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+"
            + "".join(rf"|\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4))
            + r"|\s{1,2}(?!\S)|\s",
        )
    ): ("jais-2",),
    PreTokenizer(
        (
            r"[\r\n]",
            rf"\s?[{CASED_LETTERS}]+",
            r"\s?[!-/:-~！-／：-～‘-‟、-。]+",
            r"\s+\z",
            HAN_AND_NEIGHBOURS,
            r"\p{N}+",
        )
    ): ("deepseek-llm",),
    PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_AND_NEIGHBOURS, r"\p{N}")): ("deepseek-coder",),
    DEEPSEEK3: ("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"),
    PreTokenizer(
        (
            r"\p{N}{1,3}",
            KANA_AND_HAN,
            rf"{PUNCTUATION_WORD}|{MARKED_WORD}| ?[\p{{P}}\p{{S}}]+|[\r\n]|{ENDS}",
            r"\p{N}",
        )
    ): ("spark2_5",),
    PreTokenizer(
        (
            "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + KANA_AND_HAN,
            rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+(?:{SHORT})?|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*"
            rf"|\s*[\r\n]+|{ENDS}",
        ),
        ignore_merges=True,
    ): ("youtu",),
    PreTokenizer((r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]")): ("falcon",),
    DIGITS_THEN_GPT2: (
        "starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2",
    ),
    PreTokenizer((GPT2,)): (
        "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
        "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "mpt", "olmo", "jais", "exaone4", "trillion",
        "granite-docling",
    ),
    PreTokenizer((QWEN2,)): (
        "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2",
    ),
    PreTokenizer((_words(r"\p{N}", word=r"[\p{L}\p{M}]+", other=r"\p{L}\p{M}\p{N}"),)): ("qwen35",),
    PreTokenizer((_words(r"\p{N}", short=""),)): ("ufakzeka",),
    PreTokenizer((LINES, QWEN2)): ("laguna",),
    PreTokenizer((BLOOM,)): ("bloom", "poro-chat", "gpt3-finnish"),
    PreTokenizer((BLOOM, r"\p{N}")): ("viking",),
    PreTokenizer((_cased(r"\p{L}", r"\p{N}", short=""),), ignore_merges=True): ("tekken",),
    PreTokenizer((_cased(r"\p{L}", r"\p{N}{1,3}", short=f"(?:{SHORT})?"),)): (
        "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2",
    ),
    PreTokenizer((_cased(r"\p{L}\p{M}", r"\p{N}{1,3}", short=f"(?:{SHORT})?"),), ignore_merges=True): (
        "granite-embed-multi-97m",
    ),
    PreTokenizer(
        (
            THIRD_DIGIT_FROM_THE_END,
            rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+(?:{SHORT})?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*"
            rf"|\s*[\r\n]+|{ENDS}",
        )
    ): ("tiny_aya", "cohere2moe"),
    PreTokenizer(
        (
            "<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", r"[\t\n]|    |  ", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2,
        )
    ): ("chameleon",),
    PreTokenizer(
        (
            rf"[{HAN}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{HAN}]]+(?:{SHORT})?|\p{{N}}{{1,3}}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{ENDS}",
        )
    ): ("kimi-k2",),
    PreTokenizer((r"\p{N}+", "(?=(?:[0-9]{3})++(?![0-9]))")): ("superbpe",),
    PreTokenizer(
        (
            r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
            rf"|\s*[\r\n]|{ENDS}",
        )
    ): ("bailingmoe", "bailingmoe2", "llada-moe"),
    PreTokenizer(
        (rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|{ENDS}",)
    ): ("seed-coder",),
    PreTokenizer(
        (
            THIRD_DIGIT_FROM_THE_END,
            "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+",
            rf"{PUNCTUATION_WORD}|{MARKED_WORD}| ?[\p{{P}}\p{{S}}]+[\r\n]*|\s*[\r\n]+|{ENDS}",
        )
    ): ("afmoe",),
    PreTokenizer(
        (
            rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|{ENDS}",
        )
    ): ("exaone-moe",),
    PreTokenizer((LINES,), byte_level=False, escape=True): ("gemma4", "granite-embed-multi-311m", "sarvam-moe"),
    PreTokenizer((r"\S+",), byte_level=False): ("whitespace",),
}  # fmt: skip
"""The names of each way to cut."""

PRE_TOKENIZERS = {name: how for how, names in GROUPS.items() for name in names}
"""By name."""
