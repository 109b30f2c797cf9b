"""The engine: objective, value and gradient stage by stage, optimisers, scales."""
