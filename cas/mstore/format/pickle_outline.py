"""What a pickle says of tensors, read without running it.

A pickle is a program for a machine with a stack. The machine here knows those instructions that
build numbers, texts, lists, tuples and maps, and a list of names of which it knows what they
stand for. It imports nothing and calls nothing: a name that is not on the list ends it.

1. Everything is bounded by the bytes given, and by ``MAX_STEPS``.
2. Every tensor that the program makes is either found by its name, or the pickle is refused.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.pickle_names import CALLS, DTYPES, Global, Storage, View

MAX_STEPS: Final = 1 << 22
"""Instructions of a pickle: those of some 150,000 tensors."""
MAX_NODES: Final = 1 << 18
"""Lists, maps and tensors that are visited; one may be reached on many ways."""
MAX_NESTED: Final = 64
"""Lists and maps inside one another."""
NAMELESS: Final = "tensor"
"""The name of a tensor that is all that a file holds."""


def tensors_in(content: bytes) -> list[tuple[str, View]]:
    """The tensors of a pickle by name: the keys and indexes on the way to them, joined by dots.

    UnsupportedError for a pickle that does more than describe tensors, which says what; and
    CorruptError for bytes that are no pickle.
    """
    machine = _Machine(content)
    try:
        root = machine.run()
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        message = f"the pickle is broken: {error!r}"
        raise CorruptError(message) from None
    found = list(_walk(root))
    if len({id(view) for _, view in found}) != len(machine.views):
        message = "the pickle holds a tensor that has no name"
        raise UnsupportedError(message)
    return found


def _walk(root: object) -> Iterator[tuple[str, View]]:
    waiting: list[tuple[tuple[str, ...], object]] = [((), root)]
    for _ in range(MAX_NODES):
        if not waiting:
            return
        path, value = waiting.pop()
        if isinstance(value, View):
            yield ".".join(path) if path else NAMELESS, value
            continue
        if len(path) > MAX_NESTED:
            message = f"the pickle nests more than {MAX_NESTED} values"
            raise UnsupportedError(message)
        waiting += [((*path, key), inner) for key, inner in _inside(value)]
        if len(waiting) > MAX_NODES:
            break
    message = f"the pickle holds more than {MAX_NODES} values"
    raise UnsupportedError(message)


def _inside(value: object) -> Iterator[tuple[str, object]]:
    """What may lead to a tensor, with its part of the name."""
    named: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        named = value.items()
    elif isinstance(value, list | tuple):
        named = enumerate(value)
    for key, inner in named:
        if type(key) in (str, int) and isinstance(inner, _NESTS):
            yield str(key), inner


_NESTS: Final = (View, dict, list, tuple)


class _Machine:
    """The stack, the marks in it, and what is remembered by number."""

    def __init__(self, content: bytes) -> None:
        self.views: list[View] = []
        self._content, self._at = content, 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> object:
        """What the program leaves behind."""
        for _ in range(MAX_STEPS):
            code = self.take(1)
            if code == b".":
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                message = f"the pickle has the instruction {code!r}, which is not known"
                raise UnsupportedError(message)
            step(self)
        message = f"the pickle has more than {MAX_STEPS} instructions"
        raise UnsupportedError(message)

    def take(self, size: int) -> bytes:
        """The next bytes of the program."""
        start = self._at
        self._at += size
        if self._at > len(self._content):
            message = "the pickle ends in an instruction"
            raise CorruptError(message)
        return self._content[start : self._at]

    def number(self, size: int) -> int:
        """The next bytes as an unsigned number."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        """The text up to the next newline."""
        stop = self._content.index(b"\n", self._at)
        return self.take(stop + 1 - self._at)[:-1].decode()

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:  # noqa: ANN401 - whatever the program put there
        """The value on top of the stack, taken away."""
        return self._stack.pop()

    def top(self) -> Any:  # noqa: ANN401 - whatever the program put there
        """The value on top of the stack."""
        return self._stack[-1]

    def mark(self) -> None:
        """Remember where the stack ends."""
        self._marks.append(len(self._stack))

    def pop_mark(self) -> list[Any]:
        """The values above the last mark, taken away."""
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def pop_many(self, count: int) -> tuple[Any, ...]:
        """As many values, in the order in which they came."""
        return tuple(self.pop() for _ in range(count))[::-1]

    def remember(self, number: int | None = None) -> None:
        """Keep the top of the stack under a number, else under the next one."""
        self._memo[len(self._memo) if number is None else number] = self.top()

    def recall(self, number: int) -> None:
        """Put on the stack what was kept."""
        self.push(self._memo[number])

    def set_items(self, flat: list[Any]) -> None:
        """Add keys and values to the map on the stack."""
        target = self.top()
        if type(target) is not dict or len(flat) % 2:
            message = "items for what is no map"
            raise TypeError(message)
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            # Hashing a tuple of tuples of tuples may be endless; names are made of these only.
            if type(key) not in (str, int, float, bool, type(None)):
                message = f"the pickle has a map with a {type(key).__name__} as a key"
                raise UnsupportedError(message)
            target[key] = value

    def extend(self, values: list[Any]) -> None:
        """Add values to the list on the stack."""
        target = self.top()
        if type(target) is not list:
            message = "values for what is no list"
            raise TypeError(message)
        target.extend(values)

    def refer(self, module: object, name: object) -> None:
        """Put a name on the stack; UnsupportedError for one that is not on the list."""
        if type(module) is not str or type(name) is not str:
            message = "a name that is no text"
            raise TypeError(message)
        full = f"{module}.{name}"
        if full not in CALLS and full not in DTYPES:
            message = f"the pickle names '{full[:200]}', which describes no tensor"
            raise UnsupportedError(message)
        self.push(Global(full))

    def find_storage(self) -> None:
        """Turn what the program says of a record into a storage."""
        word, kind, key, _, _ = self.pop()
        if word != "storage" or type(kind) is not Global or type(key) is not str:
            message = "a record that is no storage"
            raise TypeError(message)
        self.push(Storage(DTYPES[kind.name], key))

    def call(self) -> None:
        """Put on the stack what a known name stands for with these arguments."""
        arguments, target = self.pop(), self.pop()
        if type(target) is not Global or type(arguments) is not tuple:
            message = "a call of what is no name"
            raise TypeError(message)
        value = CALLS[target.name](*arguments)
        if type(value) is View and value not in arguments:
            self.views.append(value)
        self.push(value)

    def build(self) -> None:
        """Pass over the attributes of a map; tensors among them have no name."""
        self.pop()
        if type(self.top()) is not dict:
            message = "attributes of what is no map"
            raise TypeError(message)


def _text(size: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.push(machine.take(machine.number(size)).decode("utf-8", "surrogatepass"))

    return step


def _bytes(size: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.push(machine.take(machine.number(size)))

    return step


def _constant(value: object) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(value)


def _tuple(count: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.pop_many(count))


def _signed(machine: _Machine, size: int) -> None:
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


_STEPS: Final[dict[bytes, Callable[[_Machine], object]]] = {
    b"\x80": lambda machine: machine.take(1),
    b"\x95": lambda machine: machine.take(8),
    b"N": _constant(None),
    b"\x88": _constant(True),  # noqa: FBT003 - the value that is pushed
    b"\x89": _constant(False),  # noqa: FBT003 - the value that is pushed
    b"K": lambda machine: machine.push(machine.number(1)),
    b"M": lambda machine: machine.push(machine.number(2)),
    b"J": lambda machine: _signed(machine, 4),
    b"\x8a": lambda machine: _signed(machine, machine.number(1)),
    b"G": lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0]),
    b"X": _text(4),
    b"\x8c": _text(1),
    b"\x8d": _text(8),
    b"B": _bytes(4),
    b"C": _bytes(1),
    b"\x8e": _bytes(8),
    b"}": lambda machine: machine.push({}),
    b"]": lambda machine: machine.push([]),
    b")": _tuple(0),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"(": _Machine.mark,
    b"t": lambda machine: machine.push(tuple(machine.pop_mark())),
    b"s": lambda machine: machine.set_items(list(machine.pop_many(2))),
    b"u": lambda machine: machine.set_items(machine.pop_mark()),
    b"a": lambda machine: machine.extend([machine.pop()]),
    b"e": lambda machine: machine.extend(machine.pop_mark()),
    b"q": lambda machine: machine.remember(machine.number(1)),
    b"r": lambda machine: machine.remember(machine.number(4)),
    b"\x94": _Machine.remember,
    b"h": lambda machine: machine.recall(machine.number(1)),
    b"j": lambda machine: machine.recall(machine.number(4)),
    b"c": lambda machine: machine.refer(machine.line(), machine.line()),
    b"\x93": lambda machine: machine.refer(*machine.pop_many(2)),
    b"Q": _Machine.find_storage,
    b"R": _Machine.call,
    b"b": _Machine.build,
}
"""The instructions that are known (CPython's Lib/pickletools.py lists all)."""
