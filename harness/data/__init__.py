"""Images, labels and splits; nothing here knows about models, and only `transforms` and `torchvision_sets` import torch."""
