"""mstore inside other programs: what trains, tracks or publishes models calls it by itself.

Each module needs its own framework and is imported by whoever has it. A plain PyTorch loop needs
none of them: it calls ``Store.checkpoint``.
"""
