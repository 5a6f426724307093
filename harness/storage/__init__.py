"""Object storage behind folders of this machine: which URL stands behind a path, what goes there and comes from there, and leases. Only `files`, `study.claims` and `features.shared` know of it."""
