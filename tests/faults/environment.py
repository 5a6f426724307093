"""Machines, containers and shells that are not as usual: each command works there, or says in one line what is missing."""

import os
import re
import shutil
import subprocess

from harness.status import Status
from tests.faults.box import Box, Ended, after_first_row, quality
from tests.faults.catalog import Fault, Outcome, Seen, add, fault
from tests.faults.disks import can_mount

TWO = ("backbone=test_resnet", "freeze=none", "seed=0,1", "train.augment=flip")
"""Two jobs whose images are decoded by processes of their own."""


def _within(box: Box, shell: str, *arguments: str, env: dict[str, str] | None = None, namespace: bool = False) -> Ended:
    """The sweep, started by a line of a shell that ends in `"$@"`; in a namespace of its own it may mount what it likes."""
    apart = ["unshare", "--mount"] if namespace else []
    return box.run(*(arguments or TWO), env=env, around=[*apart, "sh", "-c", shell, "sh"])


def _works(box: Box, ended: Ended) -> Seen:
    """Both jobs are good, and nothing is said that is not about them."""
    assert ended.status == 0, ended.err
    assert [row.status for row in box.rows()] == [Status.ok] * 2
    assert "Traceback" not in ended.err, ended.err
    return Seen(Outcome.recovered, ended.line("[2/2]").replace(str(box.root), ""))


def _fine(name: str, injected: str, shell: str, *, namespace: bool = False, env: dict[str, str] | None = None) -> None:
    def inject(box: Box) -> Seen:
        return _works(box, _within(box, shell, env=env, namespace=namespace))

    if not namespace or can_mount():
        add(Fault("environment", name, injected, inject))


def _refused(box: Box, ended: Ended, *said: str) -> Seen:
    """One line, and nothing was begun."""
    assert ended.status == 2, ended.err
    assert "Traceback" not in ended.err, ended.err
    assert not box.results.exists() or not box.rows()
    return Seen(Outcome.refused, ended.line(*said).replace(str(box.root), ""))


_fine("/dev/shm has 64 KiB", "a tmpfs of 64 KiB on /dev/shm", 'mount -t tmpfs -o size=64k tmpfs /dev/shm; exec "$@"', namespace=True)
_fine("/dev/shm is read-only", "a read-only tmpfs on /dev/shm", 'mount -t tmpfs -o ro tmpfs /dev/shm; exec "$@"', namespace=True)
_fine("the terminal takes ASCII only", "PYTHONIOENCODING=ascii and LC_ALL=C", 'exec "$@"', env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
_fine("there is no HOME", "HOME is not set", 'unset HOME; exec "$@"')
_fine("Python runs without assertions", "PYTHONOPTIMIZE=1, as python -O", 'exec "$@"', env={"PYTHONOPTIMIZE": "1"})


@fault("environment", "TMPDIR with a path of 134 characters")
def a_long_tmpdir(box: Box) -> Seen:
    """the path of TMPDIR leaves no room for a socket's name"""
    folder = box.root / ("x" * max(1, 133 - len(str(box.root))))
    folder.mkdir()
    assert len(str(folder)) >= 134
    return _works(box, _within(box, 'exec "$@"', env={"TMPDIR": str(folder)}))


@fault("environment", "both closed when the sweep starts (>&- 2>&-)")
def closed_streams(box: Box) -> Seen:
    """standard output and error are closed"""
    ended = _within(box, 'exec "$@" >&- 2>&-')
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert [row.status for row in box.rows()] == [Status.ok] * 2
    return Seen(Outcome.recovered, "nothing; rows and report are there")


@fault("environment", "hydra.job.chdir=true, with folders given relative to the current one")
def another_folder(box: Box) -> Seen:
    """Hydra is told to run every job in a folder of its own"""
    ended = _within(box, 'exec "$@"', *TWO, "hydra.job.chdir=true", "results_dir=results", "cache_dir=cache")
    return _works(box, ended)


@fault("environment", "the folder that the command is started in is removed just before")
def a_deleted_folder(box: Box) -> Seen:
    """the current folder does not exist any more"""
    (box.root / "gone").mkdir()
    return _refused(box, _within(box, 'cd gone && rmdir ../gone && exec "$@"'), "current folder does not exist any more")


@fault("environment", "ulimit -v 3000000, less than torch takes")
def too_little_address_space(box: Box) -> Seen:
    """the address space is limited to 3 GB"""
    return _refused(box, _within(box, 'ulimit -v 3000000; exec "$@"'), "no process could be started", "ulimit -v unlimited")


@fault("environment", "HOME is not set, cache_dir=~nobody-of-this-name/cache")
def no_such_home(box: Box) -> Seen:
    """a folder is given by ~ and that stands for none"""
    ended = _within(box, 'unset HOME; exec "$@"', *TWO, "cache_dir='~nobody-of-this-name/cache'")
    return _refused(box, ended, "~ stands for no folder")


def _without_proc(box: Box) -> Seen:
    return _refused(box, _within(box, 'mount -t tmpfs tmpfs /proc; exec "$@"', namespace=True), "/proc: is not mounted")


if can_mount():
    add(Fault("environment", "/proc is not mounted", "a tmpfs on /proc", _without_proc))


@fault("environment", "the study's folder is removed after the first row of two")
def a_deleted_study(box: Box) -> Seen:
    """a study is deleted during the sweep"""
    with after_first_row(lambda: shutil.rmtree(box.study.root)):
        ended = box.sweep(*TWO)
    assert ended.status == 3, ended.err
    assert len(box.rows()) == 1
    again = box.sweep(*TWO)
    assert again.status == 0, again.err
    assert len(quality(box.rows())) == 2
    return Seen(Outcome.resumed, ended.line("1 of 2 jobs has no row any more").replace(str(box.root), ""))


@fault("environment", "precision=tf32 and device=cpu")
def an_arithmetic_that_is_not_here(box: Box) -> Seen:
    """the device does not have the arithmetic that is asked for"""
    ended = box.sweep("backbone=test_resnet", "freeze=all", "device=cpu", "precision=tf32")
    assert ended.status == 2
    return Seen(Outcome.refused, ended.line("precision=tf32: only cuda has it"))


@fault("environment", "PATH without this environment; then the commands that the sweep printed, as they stand")
def commands_without_the_environment(box: Box) -> Seen:
    """the environment is not active in the shell"""
    plain = {"PATH": "/usr/bin:/bin"}
    ended = box.run("backbone=test_resnet", "freeze=all", env=plain)
    assert ended.status == 0, ended.err
    printed = re.findall(r"`([^`]*python[^`]* -m harness[^`]*)`", " ".join(ended.out.split()))
    assert printed, ended.out
    for command in printed:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd=box.root, env={**os.environ, **plain})
        assert done.returncode == 0, (command, done.stderr)
    return Seen(Outcome.recovered, printed[0])
