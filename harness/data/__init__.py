"""Images, labels and splits; nothing here knows about networks, and only `transforms` and `torchvision_sets` import torch."""
