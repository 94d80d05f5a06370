"""Statistics: the sampler of a connection, and what is computed from its samples."""
