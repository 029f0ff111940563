"""The command line of mstore: it opens a store, calls one verb and prints what came back."""
