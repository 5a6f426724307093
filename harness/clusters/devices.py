"""On which devices workers compute: jobs are made exact where the command is typed, which need have none of what a worker is given."""

from harness.config import Device, On, SweepConfig


def devices_of(cfg: SweepConfig) -> tuple[Device, ...] | None:
    """What the workers of a configuration have, the one that `device=auto` means first; None: they are on this machine, which says itself.

    `device=cuda` is taken without accelerators that were asked for here, as there are other ways to ask (`slurm.options`).
    """
    if cfg.on is On.here:
        return None
    has_gpu = (cfg.slurm.gpus_per_task if cfg.on is On.slurm else cfg.ray.num_gpus) > 0
    return (Device.cuda, Device.cpu) if has_gpu else (Device.cpu, Device.cuda)
