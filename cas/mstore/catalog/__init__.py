"""The catalogue: what the names and objects of a store say, in tables that can be asked.

It is derived, may be deleted at any time, and is the same whenever it is made anew from the same
store. Nothing that it says of a version is believed where the version itself is shown.
"""
