"""Linear algebra with the same bits on every CPU."""

__all__: list[str] = []
