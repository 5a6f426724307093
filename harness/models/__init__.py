"""A model in use: a kept model put together with its base weights, applied to new images, handed on to other programs."""
