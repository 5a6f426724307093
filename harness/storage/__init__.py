"""Object storage behind folders of this machine. Who reads and writes files knows `files` and nothing of this."""
