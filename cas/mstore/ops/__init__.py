"""The verbs: each looks at the parts of an open store, plans, and does one thing."""
