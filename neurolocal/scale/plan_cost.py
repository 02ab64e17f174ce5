"""The cost of a run, step by step: seconds, bytes, and the formula with its numbers.

Invariant: a function of the model's shape, the settings, the corpus's size, the cluster and the machine's constants.
Every figure carries the formula that gave it. Cost: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from neurolocal.collect.loop import CHECKPOINT_SECONDS, SHARE
from neurolocal.collect.memory import ELEMENT
from neurolocal.config import PerturbationConfig
from neurolocal.scale.plan_constants import BlockRates, Constants
from neurolocal.scale.plan_job import Amount, Job, Step
from neurolocal.scale.plan_memory import device_memory, host_memory
from neurolocal.scale.plan_merge import merge_memory, merging
from neurolocal.scale.plan_size import StoreSize, store_size
from neurolocal.scale.plan_terms import entries, mean_span, size

if TYPE_CHECKING:
    from neurolocal.subject.shape import LayerShape


@dataclass(frozen=True)
class Plan:
    """What a run costs."""

    steps: tuple[Step, ...]
    """In the order of the run."""
    host: tuple[Amount, ...]
    """Memory of a worker's machine, at most, for each worker on it."""
    device: tuple[Amount, ...]
    """Memory of a worker's GPU; empty without."""
    last_merge: tuple[Amount, ...]
    """Memory of the process that makes the last merge; empty where there is one shard."""
    disk: tuple[Amount, ...]
    """What lies on disks at once, at most."""
    traffic: tuple[Amount, ...]
    """What is moved between workers and shared storage."""
    store: StoreSize
    """The finished store."""
    notes: tuple[str, ...]
    """What the user should know."""

    @property
    def seconds(self) -> float | int:
        """From the first command to the end."""
        return sum(step.seconds for step in self.steps)

    @property
    def collect_seconds(self) -> float | int:
        """The collection alone, without merging."""
        return sum(step.seconds for step in self.steps if step.name.startswith("collect"))


def plan(job: Job, machine: Constants) -> Plan:
    """What a job costs on a machine, or on `job.workers` of its kind.

    Raises:
        ConfigError: the machine's constants do not say how fast the job's dtype is.
    """
    config, shape = job.config, job.shape
    deepest = job.layers[-1]
    rates = machine.rates(
        d_model=shape.d_model, d_mlp=deepest.d_mlp, weights=deepest.multiplications, dtype=config.dtype,
        rows=config.batch_size, row_length=config.row_length,
    )  # fmt: skip
    store = _store(job, job.rows)
    merges = merging(job, machine)
    merge_steps = [step for step in (merges.on_the_way, merges.last) if step is not None] if merges else []
    steps = (*_collect(job, machine, rates), *merge_steps, *_evidence(job, machine, rates))
    own = _store(job, job.shard_rows).total
    disk = [Amount("store", store.total, "chunks of every dataset (store/FORMAT.md)")]
    if job.n_shards > 1:
        disk.append(Amount("shards", own * job.n_shards, f"at most {job.n_shards:,} x {size(own)}"))
    disk.append(Amount("a file that is being replaced", own, "written beside the old one, then renamed"))
    traffic = [Amount("checkpoints of one worker", _checkpoints(job, machine, rates)[1], "number x state")]
    if merges:
        traffic.append(merges.moved)
    return Plan(
        steps,
        tuple(host_memory(job, machine)),
        tuple(device_memory(job)) if machine.gpu else (),
        tuple(merge_memory(job, machine)),
        tuple(disk),
        tuple(traffic),
        store,
        tuple(_notes(job, machine, rates)),
    )


def _store(job: Job, rows: int, *, complete: bool = True) -> StoreSize:
    return store_size(job.shape.d_mlp, job.config, rows=rows, d_vocab=job.shape.d_vocab, complete=complete)


def layer_seconds(layer: LayerShape, d_model: int, tokens: int, row_length: int, rates: BlockRates) -> float:
    """Seconds of one block for a batch of this many tokens."""
    matrices = 2 * layer.multiplications * tokens / rates.matmul
    pairs = tokens * mean_span(row_length, layer.window)
    return (
        matrices
        + 2 * layer.heads * layer.d_scores * pairs / rates.attention
        + tokens * (8 * d_model + 3 * layer.active) * rates.elementwise
    )


def forward_seconds(job: Job, rates: BlockRates) -> float:
    """Seconds of one batch: the blocks up to the deepest that is read, without its out projection."""
    config = job.config
    tokens = config.batch_size * config.row_length
    blocks = sum(layer_seconds(one, job.shape.d_model, tokens, config.row_length, rates) for one in job.layers)
    return blocks - 2 * job.layers[-1].out * tokens / rates.matmul + rates.batch_seconds


ROUTED = 2.0
"""Time of an activation of an expert's neuron over that of a dense layer's (collect/README.md: 2.1 and 1.1 ns)."""

SIGNED = 1.5
"""Time of an activation with sign cases over that without, by the share of bare that both have (collect/README.md)."""


def _collect(job: Job, machine: Constants, rates: BlockRates) -> list[Step]:
    config, shape = job.config, job.shape
    rows, tokens = job.own_rows, job.own_rows * config.row_length
    batches = -(-rows // config.batch_size)
    sites, sides = len(config.sites or ("post",)), 6 if config.sign_cases else 2
    weights = shape.parameters * ELEMENT[config.dtype]
    one = forward_seconds(job, rates)
    activations = sites * sum(layer.active for layer in job.read) * tokens
    if config.neurons is not None:
        activations = sites * job.neurons * tokens
    factor = (ROUTED if any(layer.routed for layer in job.read) else 1.0) * (SIGNED if config.sign_cases else 1.0)
    entered = sites * job.neurons * sides * job.own_shards * entries(job.shard_rows, config.k)
    kernels = activations * rates.kernel * factor + entered * rates.insert
    kernels += batches * sites * len(job.read) * rates.layer_seconds
    fed = (rows if job.ranges else job.rows) * config.row_length
    feeding = fed / rates.tokenizer / machine.cores
    model = batches * one + kernels
    steps = [
        Step("collect: start and load", machine.start_seconds + weights / machine.read,
             f"{machine.start_seconds:.1f} s + {size(weights)} of weights / {size(machine.read)}/s"),
        Step("collect: forward passes", batches * one,
             f"{batches:,} batches x {one:.4g} s ({config.batch_size} rows of {config.row_length}; a block: 2 x "
             f"{job.layers[-1].multiplications:,.0f} FLOP a token / {rates.matmul / 1e9:,.0f} GFLOP/s + attention at "
             f"{rates.attention / 1e9:,.0f} GFLOP/s + {rates.elementwise:.2g} s x (8 d_model + 3 d_mlp))"),
        Step("collect: capture", kernels,
             f"{activations:.3g} activations x {1e9 * rates.kernel * factor:.2f} ns + {entered:.3g} entries x "
             f"{1e6 * rates.insert:.2f} us"),
    ]  # fmt: skip
    if machine.gpu:
        waiting = max(0.0, feeding - model)
        steps.append(Step("collect: waiting for the feed", waiting,
                          f"{fed:.3g} tokens / ({rates.tokenizer:,.0f}/s x {machine.cores} cores) = {feeding:,.0f} s, "
                          f"beside {model:,.0f} s of the model"))  # fmt: skip
    else:
        steps.append(Step("collect: feed", feeding,
                          f"{fed:.3g} tokens / ({rates.tokenizer:,.0f}/s x {machine.cores} cores)"))  # fmt: skip
    n, moved, seconds = _checkpoints(job, machine, rates)
    steps.append(Step("collect: checkpoints", seconds, f"{n:,} x {size(moved / max(1, n))} / {size(machine.write)}/s"))
    own = _store(job, job.shard_rows).total
    writes = 2 if job.n_shards == 1 else job.own_shards
    steps.append(
        Step(
            "collect: the store",
            writes * own / machine.write,
            f"{'written, and copied with the logit effects' if job.n_shards == 1 else 'each shard'}: {writes} x "
            f"{size(own)} / {size(machine.write)}/s",
        )
    )
    if config.logits:
        steps.append(Step("collect: logit effects", job.neurons * shape.d_vocab / 1000 * rates.effects,
                          f"{job.neurons:,} neurons x {shape.d_vocab:,} ids x {1e6 * rates.effects:.3g} ns (one shard "
                          "alone has them)"))  # fmt: skip
    return steps


def _checkpoints(job: Job, machine: Constants, rates: BlockRates) -> tuple[int, float, float]:
    """How many a worker writes, their bytes, and the seconds that it waits for them."""
    state = _store(job, job.shard_rows, complete=False).total
    took = state / machine.write
    batches = -(-job.own_rows // job.config.batch_size)
    n = int(batches * forward_seconds(job, rates) / max(CHECKPOINT_SECONDS, SHARE * took))
    return n, float(n * state), 0.0 if machine.gpu else n * took


PER_NEURON = {"similarity": 4.5e-3, "verdict": 4e-4}
"""Seconds a neuron and core of the stages that need neither subject nor LLM: the demo on one core of an Intel Xeon, of
4,608 neurons and 400,000 vectors."""

SUBSTITUTES = 24
"""Substitutes of an example (the demo's store has some 220 a neuron of 10 examples, of which 9 have that many)."""

PASSED = 3.0
"""Tokens that a substitute costs, the share of its prefix included: 1.3 of its own, and a share of its row."""

DESCRIBE_TOKENS = 250
"""Prompt tokens of a described neuron (summary/README.md)."""

SCORE_TEXTS = 8 * 4 * 2
"""Texts that are asked about, with those of another neuron's description, at the default of 8 a kind."""

SCORE_TOKENS = 60
"""Prompt tokens of each beyond the shared prefix."""


def _evidence(job: Job, machine: Constants, rates: BlockRates) -> list[Step]:
    """The stages after the collection, shared by the workers over layers."""
    if not job.analysed:
        return []
    width = job.read[0].d_mlp
    analysed, tested = job.analysed * width, job.analysed * min(width, job.screen or width)
    steps = []
    for name, seconds in PER_NEURON.items():
        shared = analysed * seconds / job.workers
        steps.append(Step(name, shared, f"{analysed:,} neurons x {1e3 * seconds:.1f} ms / {job.workers} workers"))
    tokens = tested * PerturbationConfig().examples * SUBSTITUTES * PASSED
    row = layer_seconds(job.layers[-1], job.shape.d_model, 256, 256, rates) / 256 * len(job.layers) / 2
    steps.append(Step("perturbation", tokens * row / job.workers,
                      f"{tested:,} neurons x {PerturbationConfig().examples} examples x {SUBSTITUTES} substitutes x "
                      f"{PASSED} tokens x {1e6 * row:.3g} us (half of the layers) / {job.workers}"))  # fmt: skip
    if job.llm_weights:
        token = 2 * job.llm_weights / machine.llm
        for name, n, each in (
            ("summary", job.analysed * job.described, DESCRIBE_TOKENS),
            ("score", job.analysed * job.scored, SCORE_TEXTS * SCORE_TOKENS),
        ):
            steps.append(Step(name, n * each * token / job.workers,
                              f"{n:,} neurons x {each:,} prompt tokens x 2 x {job.llm_weights:.3g} FLOP / "
                              f"{machine.llm / 1e9:,.0f} GFLOP/s / {job.workers}"))  # fmt: skip
    return steps


def _notes(job: Job, machine: Constants, rates: BlockRates) -> list[str]:
    """What limits this run, and what the figures rest on."""
    notes = [f"rows of the corpus: {job.rows_from}"] if job.rows_from else []
    exact = (rates.d_model, rates.d_mlp, rates.rows, rates.row_length) == (
        job.shape.d_model, job.layers[-1].d_mlp, job.config.batch_size, job.config.row_length
    )  # fmt: skip
    if machine.source != "measured":
        notes.append(f"{machine.device}: {machine.source}; not measured")
    elif not exact:
        notes.append(
            f"measured on blocks of d_model {rates.d_model:,}, d_mlp {rates.d_mlp:,} in batches of {rates.rows} rows "
            f"of {rates.row_length:,}; --calibrate with this subject and these settings is more exact"
        )
    need = sum(one.bytes for one in (device_memory(job) if machine.gpu else host_memory(job, machine)))
    if need > machine.memory:
        notes.append(f"a worker needs {size(need)}, and {machine.device} has {size(machine.memory)}")
    if job.workers > 1 and not job.ranges:
        notes.append(
            "each shard of `collect --shard` reads and tokenises the whole corpus: more workers do not shorten the feed"
        )
    return notes
