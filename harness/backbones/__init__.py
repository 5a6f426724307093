"""Names, metadata, weights and building of pretrained models: the only package that builds timm or torchvision models."""
