"""What a torch module does in one forward pass, and how fast this machine does such work."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from mstore.errors import InvalidInputError
from mstore.latency import Operation, Processor, Work

_ROUNDS = 5
_MATRICES = ((512, 512, 512), (32, 1024, 1024))
"""Rows, inner length and columns of the products that are measured: a square and a thin one."""
_CHANNELS = 64
_LAYERS = ((3, 112), (64, 56))
"""Channels and width of the images that convolutions are measured on."""
_SMALL = 1 << 18
"""Floats of an array that stays in the caches, and that does not."""
_LARGE = 1 << 24
_TINY = 200


def trace(module: Any, inputs: Sequence[Any]) -> Work:  # noqa: ANN401 - an nn.Module and tensors
    """The work of ``module(*inputs)``, which runs once, without gradients and in evaluation.

    InvalidInputError when it cannot be run on them.
    """
    training = module.training
    module.eval()
    tracer = _Tracer([*module.parameters(), *module.buffers()])
    fused = torch.backends.mha.get_fastpath_enabled()
    # Fused operations would hide what they are made of.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), tracer:
            result = module(*inputs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidInputError(f"the module cannot run on these inputs: {error}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        module.train(training)
    del result
    return tracer.work()


class _Tracer(TorchDispatchMode):  # type: ignore[misc] # torch is not looked into
    """Sees every operation: counts it, and the bytes that are alive after it."""

    def __init__(self, weights: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self._operations: Counter[tuple[str, int, int]] = Counter()
        self._sizes: WeakKeyDictionary[torch.UntypedStorage, int] = WeakKeyDictionary()
        self._weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self._most = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator of torch
        types: Any,  # noqa: ANN401 - as torch passes it
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what the operator gives
        del types
        given = kwargs or {}
        result = func(*args, **given)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if func in _RECURRENT:
            self._operations.update(_recurrent(args))
        elif not func.is_view:
            inputs = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, torch.Tensor)]
            moved = sum(tensor.nbytes for tensor in (*inputs, *outputs))
            kind, flops = _arithmetic(func, args, given, result)
            self._operations[kind, flops, moved] += 1
        for tensor in outputs:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._weights:
                self._sizes[storage] = storage.nbytes()
        self._most = max(self._most, sum(self._sizes.values()))
        return result

    def work(self) -> Work:
        """What was seen, equal operations together."""
        operations = (
            Operation(kind, count, flops, moved)
            for (kind, flops, moved), count in sorted(self._operations.items())
        )
        return Work(tuple(operations), self._most)


_RECURRENT = frozenset({torch.ops.aten.mkldnn_rnn_layer.default})


def _recurrent(args: Sequence[Any]) -> dict[tuple[str, int, int], int]:
    """A fused layer that reads its two matrices at every step of a sequence."""
    sequence, *matrices = args[:3]
    steps, rows = sequence.shape[:2]
    weights = sum(matrix.numel() for matrix in matrices)
    traffic = weights * sequence.element_size() + sequence.nbytes // steps
    return {("matmul", 2 * rows * weights, traffic): steps}


def _arithmetic(
    func: Any,  # noqa: ANN401 - an operator of torch
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Any,  # noqa: ANN401 - what the operator gives
) -> tuple[str, int]:
    """The kind of an operation and its floating-point operations, as torch counts them."""
    packet = func.overloadpacket
    if packet not in flop_registry and "scaled_dot_product" in str(packet):
        return "matmul", int(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
    counts = flop_registry.get(packet)
    if counts is None:
        return "", 0
    kind = "convolution" if "conv" in str(packet) else "matmul"
    return kind, int(counts(*args, **kwargs, out_val=result))


def calibrate(hertz: float) -> Processor:
    """What one thread of this machine does in a second, measured now; ``hertz`` is its clock.

    Takes about a second. It counts the thread's own time, so that other programs do not disturb
    it much.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return Processor(
                hertz,
                flops={"matmul": _matmul_rate(), "convolution": _convolution_rate()},
                overhead={kind: _overhead(*tiny) for kind, tiny in _tiny_modules().items()},
                cached=_traffic_rate(_SMALL),
                memory=_traffic_rate(_LARGE),
            )
    finally:
        torch.set_num_threads(threads)


def _matmul_rate() -> float:
    spent = flops = 0.0
    for rows, inner, columns in _MATRICES:
        left, right = torch.rand(rows, inner), torch.rand(inner, columns)
        spent += _best(lambda: left @ right)  # noqa: B023 - called at once
        flops += 2 * rows * inner * columns
    return flops / spent


def _convolution_rate() -> float:
    """Over layers of both kinds that networks have: few channels on a large image, and many."""
    spent = flops = 0.0
    for channels, size in _LAYERS:
        image = torch.rand(1, channels, size, size)
        kernel = torch.rand(_CHANNELS, channels, 3, 3)
        spent += _best(lambda: torch.nn.functional.conv2d(image, kernel, padding=1))  # noqa: B023 - called at once
        flops += 2 * 9 * channels * _CHANNELS * size**2
    return flops / spent


def _traffic_rate(count: int) -> float:
    array = torch.rand(count)
    target = torch.empty_like(array)
    moved: int = 2 * array.nbytes
    return moved / _best(lambda: torch.add(array, 1.0, out=target))


def _tiny_modules() -> dict[str, tuple[torch.nn.Module, torch.Tensor]]:
    """Two modules of each kind of operation whose work is next to nothing, and their input."""
    pair = torch.nn.Sequential
    pool, convolution = torch.nn.MaxPool2d(2), torch.nn.Conv2d(4, 4, 5, padding=2)
    return {
        "": (pair(torch.nn.ReLU(), pool), torch.rand(1, 4, 16, 16)),
        "matmul": (pair(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)), torch.rand(1, 8)),
        "convolution": (pair(convolution, convolution), torch.rand(1, 4, 16, 16)),
    }


def _overhead(both: torch.nn.Module, given: torch.Tensor) -> float:
    def work() -> None:
        for _ in range(_TINY):
            both(given)

    return _best(work) / (2 * _TINY)


def _best(work: Callable[[], object]) -> float:
    """The shortest time of a few, in seconds of this thread."""
    found = []
    work()
    for _ in range(_ROUNDS):
        start = time.thread_time()
        work()
        found.append(time.thread_time() - start)
    return min(found)
