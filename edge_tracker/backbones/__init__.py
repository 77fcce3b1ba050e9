"""Feature extractors: one protocol, an adapter per engine, and the catalogue of models."""
