"""Work in processes of its own, signs of life and progress. Knows nothing of jobs or results."""
