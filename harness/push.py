"""Entry: `python -m harness.push study=lesions to=clinic/lesions` puts an exported folder on the model hub."""

from pathlib import Path

from omegaconf import DictConfig

from harness.cli import command
from harness.config import PushConfig
from harness.files import local_folder
from harness.study.store import find_study
from harness.text.commands import runnable
from harness.text.untrusted import one_line


def main() -> None:
    """Console entry point."""
    command.launch(_task, config_name="push", schema=PushConfig)


def _task(cfg: DictConfig) -> None:
    with command.running(), command.quit_on_error(PushConfig):
        command.stay()
        run(command.typed(cfg, PushConfig))


def run(cfg: PushConfig) -> int:
    """Upload a folder and say where it is.

    Returns:
        0.

    Raises:
        ConfigError: the repository's name is none, nobody is logged in, or the hub does not take it.
        TableError: there is no such study or exported folder, or it has changed.
    """
    from harness.models.push import find_export, push, require_repository

    to = require_repository(cfg.to)
    folder = Path(cfg.folder).expanduser() if cfg.folder is not None else find_export(find_study(local_folder(cfg.results_dir), cfg.study))
    address = push(folder, to, private=cfg.private)
    _say(f"{folder} -> {address}")
    return 0


def _say(text: str) -> None:
    print(one_line(runnable(text)), flush=True)


if __name__ == "__main__":
    main()
