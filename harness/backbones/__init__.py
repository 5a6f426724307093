"""Names, metadata, weights and building of pretrained networks: the only package that builds timm or torchvision models."""
