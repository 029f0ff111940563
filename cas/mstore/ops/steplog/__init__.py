"""A log of training steps: states copied at once, stored in the background, resumed from.

Each step is a version of the model ``RUN``; what only training needs (optimizer, random numbers,
position in the data) is a version of ``RUN/optimizer`` of its own, so that it can be dropped
alone. The latter is durable first: a step that can be seen has all of itself.
"""
