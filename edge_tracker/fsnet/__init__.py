"""FSNet, the second paper: maps chosen by mutual information, max-RoIAlign, a small classifier fine-tuned online."""
