"""Where versions come from: recorded parents and children, and parents inferred from weights."""
