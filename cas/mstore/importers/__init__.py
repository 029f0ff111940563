"""Models that were kept elsewhere, brought into a store with what is known of them.

What is guessed is said to be a guess. Nothing outside the store is changed.
"""
