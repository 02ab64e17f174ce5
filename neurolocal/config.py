"""The settings: one frozen dataclass a stage, with canonical JSON and a hash.

Invariant: a stage's result is a function of its config and the hashes of its inputs; both are stored beside the result
and compared before it is used again. The docstring under each field is its help text and its line in the README.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import itertools
import json
import math
import re
import textwrap
from dataclasses import dataclass
from typing import Any, Literal

from neurolocal.errors import ConfigError
from neurolocal.literals import Dtype, Site

MOST = 10_000_000
"""Most that a setting which counts something may be; memory and time end long before."""

UNBOUNDED = {"max_rows", "limit", "screen", "shard", "shards", "seed", "longest_record", "longest_text"}
"""Whole numbers that may be larger, up to `LARGEST`: by themselves they take no memory."""

LARGEST = 2**62
"""The largest of these."""

Method = Literal["default", "notebook"]
"""`notebook` follows the original notebook step by step, including its weak points."""


Lists = Literal["auto", "device", "host"]
"""Where neuron lists are kept: where their layer's activations are, in the host's memory, or by what is free."""


@dataclass(frozen=True)
class CollectConfig:
    """How text becomes rows, and what is kept of every neuron."""

    row_length: int = 256
    """Tokens a row, BOS included."""
    k: int = 20
    """Examples a neuron and side."""
    dtype: Dtype = "float32"
    """Number format in which the subject computes; the store is always float32."""
    packing: Literal["concat", "document"] = "concat"
    """`concat`: documents joined by EOS, cut into full rows; `document`: no row holds two documents."""
    bos: Literal["prepend", "none"] = "prepend"
    """Whether every row begins with BOS."""
    count_bos: bool = False
    """Whether the BOS position competes and counts; in many models its activations exceed all others."""
    before: int = 50
    """Window positions kept before the peak."""
    after: int = 10
    """Window positions kept after the peak."""
    layers: tuple[int, ...] | None = None
    """Layers to read, ascending; None is all. The forward pass ends after the last of them."""
    max_rows: int | None = None
    """Rows to read at most; None is the whole corpus."""
    batch_size: int = 8
    """Rows a forward pass. It changes the last bits of the result: kernels round differently at other sizes."""
    sites: tuple[Site, ...] | None = None
    """Where neurons are read; None is `post`, or `mid` in a model that has it, as Neuroscope does."""
    sign_cases: bool = False
    """Whether gated neurons also keep their strongest examples, frequency and mean in each of the four sign cases."""
    neurons: tuple[int, ...] | None = None
    """Neurons to keep, the same of every layer, ascending; None is all."""
    skip_special: bool = False
    """Whether special tokens (such as the EOS between documents) neither compete nor count."""
    sample: int = 1024
    """Positions drawn at random, the same for all neurons, whose activations are all kept."""
    logits: int = 10
    """Tokens kept that a neuron's output promotes most, and suppresses most; 0 keeps none."""
    count_roles: tuple[str, ...] | None = None
    """Of conversations, the roles whose messages compete and count (`assistant`); None is
    everything, the template's own text too."""
    control_tokens: Literal["token", "text"] = "token"
    """What a control token is that is written out in a document (`<|endoftext|>`): `token`, as in
    TransformerLens, or `text`."""
    text_field: str = "text"
    """The field of a JSON line or table that holds the document; of a table also its token ids."""
    longest_record: int = 1 << 28
    """Most bytes of a record; a longer one is broken."""
    longest_text: int = 1 << 22
    """Most characters tokenised at once, of a document that cannot be tokenised in parts with the
    same ids; a longer one is cut at white space, and this is said."""
    strict: bool = False
    """Whether a broken record stops the run; otherwise it is skipped and counted."""
    shard: int = 0
    """This run takes the batches whose number is `shard` modulo `shards`."""
    shards: int = 1
    """Runs that share the corpus."""
    seed: int = 0
    """Seed of the random sample and of the histogram's positions."""
    dedupe: bool = False
    """Whether a list keeps each text once: of examples with the same 16 tokens up to the peak, the strongest."""
    bands: int = 5
    """Random examples kept of each of the ten half octaves of activation under a neuron's maximum; 0 keeps none."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(
            self, row_length=2, k=1, before=0, after=0, batch_size=1, shards=1, shard=0, sample=0, logits=0, bands=0
        )
        _at_least(self, longest_record=1, longest_text=1)
        for name in ("sites", "neurons", "layers"):
            given = getattr(self, name)
            if given is not None and (not given or len(set(given)) != len(given)):
                raise ConfigError(f"{name} = {given}: give one or more, each once")
        if self.neurons is not None and list(self.neurons) != sorted(self.neurons):
            raise ConfigError(f"neurons = {_short(self.neurons)}: give them ascending")
        if self.sign_cases and self.sites is not None and "post" not in self.sites:
            raise ConfigError("sign_cases = true without the site post: sign cases are kept there; add post to sites")
        if self.count_roles is not None and not all(self.count_roles):
            raise ConfigError(f"count_roles = {self.count_roles}: give names of roles, for example assistant")
        if self.max_rows is not None:
            _at_least(self, max_rows=1)
        if self.shard >= self.shards:
            raise ConfigError(f"shard {self.shard} of {self.shards}: shards are numbered from 0 to {self.shards - 1}")
        if self.bos == "none" and self.count_bos:
            raise ConfigError("count_bos = true with bos = none: there is no BOS to count; drop one of the two")


@dataclass(frozen=True)
class SimilarityConfig:
    """How coherence is measured, and what it is compared with."""

    method: Method = "default"
    """`default`: distinct words against a frequency-matched null; `notebook`: the notebook's mean over all pairs."""
    draws: int = 4000
    """Random word sets a neuron is compared with; the smallest p is 1 / (draws + 1)."""
    bins: int = 15
    """Frequency bins from which the random words are drawn, of equal width in log count."""
    level: float = 0.05
    """q at or under which a neuron is kept (default method)."""
    phrases: Literal["none", "mean", "doc2vec"] = "mean"
    """How windows are compared: not at all, by mean vectors, or also by Doc2Vec trained on the corpus (slow)."""
    threshold: float = 0.6
    """Score at or above which a neuron is kept (notebook method)."""
    seed: int = 0
    """Seed of the null's draws."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(self, draws=19, bins=1)
        _within(self, 0.0, 1.0, "level")
        _within(self, -1.0, 1.0, "threshold")


@dataclass(frozen=True)
class MeaningsConfig:
    """When the examples of a neuron fall into parts that lie apart."""

    level: float = 0.05
    """p at or under which a group of words holds together, and q at or under which the parts are shown."""
    words: int = 3
    """Fewest distinct words of a part, and fewest examples."""
    apart: float = 0.4
    """Largest mean cosine between two parts, as a share of the smallest within a part."""
    cover: float = 0.6
    """Share of the examples with a clustered word that the parts must hold."""
    context: float = 0.25
    """Weight of the context, beside the word's, when an example that is in no part joins one."""
    seed: int = 0
    """Seed of the null's draws."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(self, words=2)
        _within(self, 0.0, 1.0, "level", "apart", "cover", "context")


@dataclass(frozen=True)
class PerturbationConfig:
    """Which words replace the peak word, and how many of each kind."""

    method: Method = "default"
    """`default`: in place, within the context, beside controls; `notebook`: the substitute alone after BOS."""
    examples: int = 10
    """Examples tested a neuron, strongest first."""
    neighbours: int = 5
    """Nearest words tried for each example."""
    controls: int = 5
    """Random words of the same frequency tried for each example."""
    grades: int = 1
    """Words tried for each example at each of three distances between neighbours and controls."""
    variants: int = 2
    """Spelling variants of the word tried for each example."""
    forms: int = 2
    """Other capitals and spacings of the word tried for each example."""
    spelled: int = 2
    """Random words tried for each example that have the spelling which the neuron's words share, if any."""
    reach: int = 2
    """New words, close to all of the neuron's words, tried for each example."""
    contexts: int = 2
    """Other contexts in which the word is tried; above 0, also alone after BOS."""
    screen: int | None = None
    """Test only this many neurons of a layer, those with the smallest similarity p; None is all."""
    permutations: int = 1000
    """Random swaps in the paired test."""
    seed: int = 0
    """Seed of controls and swaps."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(self, examples=1, neighbours=1, controls=1, permutations=19)
        _at_least(self, grades=0, variants=0, forms=0, spelled=0, reach=0, contexts=0)
        if self.screen is not None:
            _at_least(self, screen=1)


@dataclass(frozen=True)
class InterventionConfig:
    """How activations are changed, where, and of how many neurons."""

    limit: int | None = 50
    """Neurons tested in a layer, best verdict first; None is all that are not dead."""
    examples: int = 5
    """Strongest examples in which a neuron's activation is changed, at the peak."""
    places: int = 8
    """Random positions of the corpus at which it is changed."""
    multiple: float = 3.0
    """It is set to 0, to its mean, to its strongest example's activation, and to this many times that."""
    controls: int = 5
    """Random neurons of the layer that are changed as much at the same places."""
    tokens: int = 10
    """Tokens kept of those that rise, and of those that fall."""
    dtype: Dtype = "float32"
    """Number format of the passes, whatever the collection's: in 16 bits a divergence under some 0.002 nats is
    rounding."""
    seed: int = 0
    """Seed of places and controls."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(self, examples=1, places=1, controls=2, tokens=1)
        if self.limit is not None:
            _at_least(self, limit=1)
        _within(self, 1.0, math.inf, "multiple")

    @property
    def multiples(self) -> tuple[float, ...]:
        """Of the strongest example's activation, ascending."""
        return (1.0,) if self.multiple == 1 else (1.0, self.multiple)


@dataclass(frozen=True)
class SummaryConfig:
    """How neurons are described, and how many."""

    method: Method = "default"
    """`default`: candidates chosen by likelihood; `notebook`: the original notebook's one question."""
    limit: int | None = 50
    """Neurons described in a layer, best evidence first; None is all with evidence."""
    samples: int = 3
    """Descriptions that the LLM proposes for each neuron."""
    max_tokens: int = 24
    """Maximum tokens of a proposal (the notebook's question always has 50)."""
    n_ctx: int = 2048
    """Context of the LLM in tokens."""
    temperature: float = 0.7
    """Sampling temperature of the proposals after the first, which is greedy."""
    seed: int = 0
    """Seed of the sampling."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(self, samples=1, max_tokens=1, n_ctx=64)
        _within(self, 0.0, math.inf, "temperature")
        if self.limit is not None:
            _at_least(self, limit=0)


@dataclass(frozen=True)
class ScoreConfig:
    """How descriptions are scored, and on how many texts."""

    limit: int | None = 20
    """Described neurons scored in a layer, best first; None is all."""
    texts: int = 8
    """Maximum texts of each kind for a neuron: examples, random texts where it fires, near misses, silent texts like
    those that explain, others."""
    banded: int = 50
    """Maximum texts from the bands of its activation, dealt evenly over them; 0: none, and in stores without bands."""
    simulated: int = 3
    """Maximum texts of each kind that an LLM of a billion parameters or more simulates token by token; 0: none."""
    rows: int = 128
    """Random rows that texts are drawn from; they run through the subject once."""
    draws: int = 400
    """Bootstrap draws of an interval."""
    n_ctx: int = 2048
    """Context of the LLM in tokens."""
    seed: int = 0
    """Seed of the texts, the other description and the intervals."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(self, texts=1, banded=0, simulated=0, rows=1, draws=20, n_ctx=64)
        if self.limit is not None:
            _at_least(self, limit=0)


@dataclass(frozen=True)
class VerdictConfig:
    """The thresholds between verdicts."""

    level: float = 0.05
    """q at or under which similarity or perturbation counts as evidence."""
    repetition: float = 0.8
    """Share of examples on one word from which a neuron is a `token`."""
    near: float = 0.1
    """Share of near words (or words with that spelling) that must keep half of the activation."""
    strong: float = 6.0
    """z of coherence from which words are a `concept` without near words that hold."""
    closed: float = 3.5
    """The same of a closed list, which has at most half as many distinct words as examples."""
    half: float = 0.5
    """Share of random words that keep half of the activation from which the word does not matter: `context`."""
    shared: float = 0.7
    """Share of the distinct words that must have one spelling for a `form`."""
    elsewhere: float = 0.25
    """Share of other contexts in which the word must keep half; below it, the neuron needs its `context`."""
    around: float = 0.25
    """Share of the positions around the peaks that keep half of the activation from which a passage excites
    the neuron, and no place in it: no `context`."""
    dead: float = 1e-6
    """Largest |activation| under which a neuron is `dead`."""
    halfway: float = 4.0
    """z at which the coherence term of the score is 1/2."""
    floor: float = 0.3
    """Share of the layer's largest average score from which the notebook's method reports a neuron."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _within(self, 0.0, 1.0, "level", "repetition", "near", "half", "shared", "elsewhere", "around", "floor")
        _within(self, 0.0, math.inf, "strong", "closed", "dead", "halfway")


@dataclass(frozen=True)
class ScaleConfig:
    """Where the work is done. It does not change the result, so the store does not state it."""

    engine: Literal["single", "ray"] = "single"
    """`single`: in this process; `ray`: in workers, each of which takes shards of the corpus, or parts of a stage."""
    workers: int | None = None
    """Workers of the Ray engine; None is one for each GPU, or without GPUs one for all cores."""
    address: str | None = None
    """A running Ray cluster (`HOST:PORT`, or `auto`); None is a new one on this machine, for this run alone."""
    shards: int | None = None
    """About so many shards of the corpus; None is 4 a worker."""
    gpus_per_worker: int | None = None
    """GPUs of a worker, over which a model is spread; None is 1 where there are GPUs, else 0."""
    cpus_per_worker: int | None = None
    """Cores of a worker; None is an equal share of the cores."""
    shards_at: str | None = None
    """An address (`s3://bucket/run/`) that holds the shards of a collection, for workers without a common disk; None is
    the folder beside the store."""
    attempts: int = 3
    """Times that a shard or part may fail before it is set aside."""
    slow: float = 3.0
    """What takes longer than so many times the median is begun once more by a worker with nothing to do."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(self, attempts=1)
        for name, least in (("workers", 1), ("shards", 1), ("gpus_per_worker", 0), ("cpus_per_worker", 1)):
            if getattr(self, name) is not None:
                _at_least(self, **{name: least})
        _within(self, 1.0, math.inf, "slow")
        if self.engine == "single" and (given := [name for name in WORKERS if getattr(self, name) is not None]):
            raise ConfigError(f"{given[0]} = {getattr(self, given[0])} without workers: add engine = ray, or omit it")


@dataclass(frozen=True)
class ControlConfig:
    """What the verdicts of a run are held against."""

    untrained: bool = False
    """Whether the same collection and stages, up to the verdicts, also run on the same architecture with weights that
    were never trained."""
    seed: int = 0
    """Seed of those weights."""

    def __post_init__(self) -> None:
        _require_sane(self)
        _at_least(self, seed=0)


WORKERS = ("workers", "address", "shards", "gpus_per_worker", "cpus_per_worker", "shards_at")
"""Settings of `ScaleConfig` that only the Ray engine has."""

PRESETS: dict[str, dict[str, Any]] = {
    # 1024 tokens with BOS, which competes too; 20 examples, one a row; windows of 50 before and 10 after.
    "neuroscope": {
        "row_length": 1024,
        "k": 20,
        "packing": "concat",
        "bos": "prepend",
        "count_bos": True,
        "skip_special": False,
        "before": 50,
        "after": 10,
    },
}
"""Settings of `CollectConfig` by name."""


def preset_settings(name: str | None) -> dict[str, Any]:
    """The settings of a preset; none for None.

    Raises:
        ConfigError: no preset of that name.
    """
    if name is None:
        return {}
    if name not in PRESETS:
        raise ConfigError(f"preset = {name!r}: choose one of {', '.join(PRESETS)}")
    return dict(PRESETS[name])


@functools.cache
def described(config: type) -> dict[str, str]:
    """The docstring under each field of a config, on one line each: what help texts and settings tables say."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    assert isinstance(body, ast.ClassDef)
    says: dict[str, str] = {}
    for field, text in itertools.pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            says[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return says


def default_text(config: type, field: str) -> str:
    """A field's default for a reader; what None stands for, its docstring says after `None is`."""
    default = next(f.default for f in dataclasses.fields(config) if f.name == field)
    if default is not None:
        return str(default)
    _, _, meaning = described(config)[field].partition("None is ")
    return re.split("[;.]", meaning)[0].replace("`", "") or "none"


def canonical(value: Any) -> str:
    """Canonical JSON of a config or plain value: sorted keys, no spaces; equal values give equal text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256(value: Any) -> str:
    """SHA-256 of `canonical(value)`, hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """What differs between two plain values, one line each: `config.k: 20 -> 10`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted({*old, *new})
            for line in differences(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
        ]
    return [] if canonical(old) == canonical(new) else [f"{prefix}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _require_sane(config: Any) -> None:
    """Refuse numbers that no run can mean: NaN and infinity, counts of billions, seeds below 0."""
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if type(value) is float and not math.isfinite(value):
            raise ConfigError(f"{name} = {value}: it must be a number")
        most = LARGEST if name in UNBOUNDED else MOST
        for one in value if isinstance(value, tuple) else (value,):
            if type(one) is int and one > most:
                raise ConfigError(f"{name} = {_digits(one)}: it must be {most:,} or less")
    if config.__dict__.get("seed", 0) < 0:
        raise ConfigError(f"seed = {_digits(config.seed)}: it must be 0 or more")


def _digits(number: int) -> str:
    """A number for a message; one that is too long is given by its size."""
    return str(number) if abs(number) < 10**30 else f"a number of {int(math.log10(abs(number))) + 1:,} digits"


def _at_least(config: Any, **least: int) -> None:
    for name, low in least.items():
        if getattr(config, name) < low:
            raise ConfigError(f"{name} = {_digits(getattr(config, name))}: it must be {low} or more")


def _within(config: Any, low: float, high: float, *names: str) -> None:
    for name in names:
        if not low <= getattr(config, name) <= high:  # NaN is not
            expected = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
            raise ConfigError(f"{name} = {getattr(config, name)}: it must be {expected}")
