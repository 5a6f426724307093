"""Faults of the model hub and of the way to it, against servers on loopback."""

import errno
import os
import resource
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import psutil
from filelock import FileLock
from huggingface_hub import constants
from safetensors.torch import save_file

from harness.backbones import weights
from harness.backbones.backbone import Weights
from harness.backbones.catalog import resolve
from harness.backbones.hub import Published, cached_file, published, why_silent
from harness.backbones.weights import fetched, find_weights
from harness.errors import BackboneError
from harness.status import Status
from tests import loopback
from tests.faults.box import Box, Ended, wait_for
from tests.faults.catalog import Outcome, Seen, fault
from tests.faults.disks import can_mount, read_only, tmpfs
from tests.faults.weights import NAME, state
from tests.loopback import Site, serving

SAFE = f"/timm/{NAME}.r160_in1k/resolve/main/model.safetensors"
PLAIN = "/models/squeezenet1_1-b8a52dc0.pth"
"""A file outside of the hub, named as torchvision names its own."""


def content() -> bytes:
    """Weights that fit, as a file."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(state(), Path(folder, "w"))
        return Path(folder, "w").read_bytes()


@contextmanager
def asking(box: Box, address: str, *, stall_s: float, **environment: str) -> Iterator[Path]:
    """Make this process and those that it starts take `address` for the hub, with an empty cache; gives the cache's folder."""
    home = box.root / "hub"
    variables = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "TORCH_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "",
        "no_proxy": "",
    }
    limits = {"HF_HUB_ETAG_TIMEOUT": "2", "HF_HUB_DOWNLOAD_TIMEOUT": "2", "HARNESS_DOWNLOAD_STALL_S": str(stall_s)}
    why_silent.cache_clear()
    with (
        patch.dict(os.environ, variables | limits | environment),
        patch.multiple(constants, ENDPOINT=address, HF_HUB_CACHE=str(home / "hub"), HF_HUB_OFFLINE=False),
    ):
        yield home
    why_silent.cache_clear()


def refusal(address: str) -> str:
    """What is said when there is nothing to be had: before the first job, or by the one that fetches the file."""
    try:
        found = _had()
    except BackboneError as error:
        words = str(error)
    else:
        raise AssertionError(f"{found} was taken")
    assert "\n" not in words
    for part in (NAME, address, "give weights=PATH, weights=random, or backbone="):
        assert part in words, words
    return words


def _had() -> Weights:
    spec = resolve(NAME)
    return fetched(spec, find_weights(spec, "pretrained"))


def _refused(box: Box, site: Site, *parts: str, stall_s: float = 30, environment: Mapping[str, str] | None = None) -> Seen:
    """The hub is asked, nothing comes of it, the reason holds these parts, and nothing is left that a later run could take."""
    with asking(box, site.address, stall_s=stall_s, **(environment or {})) as home:
        words = refusal(site.address)
        for part in parts:
            assert part in words, words
        _require_nothing_kept(home)
    return Seen(Outcome.refused, _short(words, box, site.address))


def _require_nothing_kept(home: Path) -> None:
    source = published(resolve(NAME))
    assert source is not None
    assert cached_file(source) is None
    left = [path for path in home.rglob("*") if path.is_file() and (path.suffix == ".incomplete" or path.stat().st_size > 1000)]
    assert left == []


def _short(words: str, box: Box, address: str) -> str:
    return words.replace(address, "http://127.0.0.1:PORT").replace(f"{box.root}/", "")


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A disk of 1 MiB at `folder`; where none can be mounted, a limit on the size of files. Gives the words for having no room."""
    if can_mount():
        with tmpfs(folder, "1m"):
            yield os.strerror(errno.ENOSPC)
        return
    folder.mkdir(parents=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        yield os.strerror(errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Before anything is fetched.


@fault("hub", injected="a loopback port that nobody listens at")
def refused_connection(box: Box) -> Seen:
    """the hub refuses connections"""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with asking(box, address, stall_s=30):
            words = refusal(address)
    assert "out of reach (Connection refused)" in words
    return Seen(Outcome.refused, _short(words, box, address))


@fault("hub", injected="a name below .invalid, which never resolves")
def unknown_name(box: Box) -> Seen:
    """the hub's name does not resolve"""
    with asking(box, "http://hub.invalid", stall_s=30):
        words = refusal("http://hub.invalid")
    assert "is out of reach (" in words
    return Seen(Outcome.refused, words.replace(f"{box.root}/", ""))


@fault("hub", injected="a loopback server that accepts connections and says nothing")
def silence(box: Box) -> Seen:
    """the hub accepts and never answers"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with asking(box, address, stall_s=30):
            words = refusal(address)
    assert "out of reach (no answer within 2 s)" in words
    return Seen(Outcome.refused, _short(words, box, address))


@fault("hub", injected="HTTP_PROXY with a loopback port that nobody listens at")
def dead_proxy(box: Box) -> Seen:
    """the environment names a proxy that is not there"""
    with serving({SAFE: content()}) as site, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{closed.getsockname()[1]}"
        variables = {"HTTP_PROXY": f"http://me:secret@{proxy}", "http_proxy": f"http://me:secret@{proxy}"}
        with _fresh_client():
            seen = _refused(box, site, f"Connection refused through the proxy {proxy}, which HTTP_PROXY names", environment=variables)
    assert "secret" not in seen.words
    assert site.asked == []
    return Seen(seen.outcome, seen.words.replace(proxy, "127.0.0.1:PORT"))


@contextmanager
def _fresh_client() -> Iterator[None]:
    """The hub client reads the proxies when it is made."""
    from huggingface_hub import close_session

    close_session()
    try:
        yield
    finally:
        close_session()


# While it is fetched.


@fault("hub", injected="the server falls silent after half of the file; HARNESS_DOWNLOAD_STALL_S=3, HF_HUB_DOWNLOAD_TIMEOUT=2")
def stall(box: Box) -> Seen:
    """the hub stalls in the middle of a file"""
    with serving({SAFE: content()}, get=loopback.stalling) as site:
        return _refused(box, site, "less than 10 KiB/s in 3 s", stall_s=3)


@fault("hub", injected="the server sends five bytes a second; HARNESS_DOWNLOAD_STALL_S=3")
def trickle(box: Box) -> Seen:
    """the hub sends a few bytes a second"""
    with serving({SAFE: content()}, get=loopback.trickling) as site:
        return _refused(box, site, "less than 10 KiB/s in 3 s", stall_s=3)


@fault("hub", injected="a file lock on the hub cache's lock file, held for good; HARNESS_DOWNLOAD_STALL_S=4")
def held_lock(box: Box) -> Seen:
    """another process holds the cache's lock and hangs"""
    served = content()
    with serving({SAFE: served}) as site:
        tag = str(loopback.described(served)["ETag"]).strip('"')
        lock = box.root / "hub" / "hub" / ".locks" / f"models--timm--{NAME}.r160_in1k" / f"{tag}.lock"
        lock.parent.mkdir(parents=True)
        with FileLock(lock):
            return _refused(box, site, "less than 10 KiB/s in 4 s", stall_s=4)


@fault("hub", injected="HTTP 404 for the repository")
def no_repository(box: Box) -> Seen:
    """the hub has no such repository"""
    missing = loopback.refusing(404, X_Error_Code="RepoNotFound")
    with serving({SAFE: b""}, get=missing, head=missing) as site:
        return _refused(box, site, "HTTP 404: it is not there, or holds none of model.safetensors, pytorch_model.bin")


@fault("hub", injected="HTTP 401")
def unauthorized(box: Box) -> Seen:
    """the hub wants a token"""
    refused = loopback.refusing(401)
    with serving({SAFE: b""}, get=refused, head=refused) as site:
        return _refused(box, site, "HTTP 401 Unauthorized", "set HF_TOKEN")


@fault("hub", injected="HTTP 403 with X-Error-Code: GatedRepo")
def gated(box: Box) -> Seen:
    """the weights are gated"""
    refused = loopback.refusing(403, X_Error_Code="GatedRepo")
    with serving({SAFE: b""}, get=refused, head=refused) as site:
        return _refused(box, site, "HTTP 403 Forbidden", "set HF_TOKEN")


@fault("hub", injected="HTTP 429 with Retry-After: 3600; HARNESS_DOWNLOAD_STALL_S=6")
def too_many_requests(box: Box) -> Seen:
    """the hub asks to come back in an hour"""
    refused = loopback.refusing(429, Retry_After=3600)
    with serving({SAFE: b""}, get=refused, head=refused) as site:
        return _refused(box, site, "less than 10 KiB/s in 6 s, last: Rate limited. Waiting 3601.0s", stall_s=6)


@fault("hub", injected="HTTP 503; HARNESS_DOWNLOAD_STALL_S=6")
def out_of_order(box: Box) -> Seen:
    """the hub is out of order"""
    refused = loopback.refusing(503)
    with serving({SAFE: b""}, get=refused, head=refused) as site:
        return _refused(box, site, "less than 10 KiB/s in 6 s, last: HTTP Error 503", stall_s=6)


@fault("hub", injected="the server hangs up after half of the file, again and again; HARNESS_DOWNLOAD_STALL_S=4")
def cut_short(box: Box) -> Seen:
    """the file is cut short"""
    with serving({SAFE: content()}, get=loopback.half) as site:
        return _refused(box, site, "less than 10 KiB/s in 4 s, last: Error while downloading", stall_s=4)


@fault("hub", injected="a page of HTML with status 200 for every address")
def login_page(box: Box) -> Seen:
    """a login page answers in place of the hub"""
    with serving({SAFE: b""}, get=loopback.page, head=loopback.page) as site:
        return _refused(box, site, "does not seem to be served by a Hugging Face Hub endpoint")


@fault("hub", injected="a page of HTML with the headers of the hub and an ETag that is no hash")
def page_as_weights(box: Box) -> Seen:
    """a page of HTML comes in place of weights"""
    with serving({SAFE: b""}, get=loopback.disguised_page, head=loopback.disguised_page) as site:
        return _refused(box, site, "what came is not what was published: it begins with '<!DOCTYPE html>")


@fault("hub", injected="one bit of the served file is not as its published hash says")
def wrong_content(box: Box) -> Seen:
    """the right size, the wrong content"""
    with serving({SAFE: content()}, get=loopback.changed) as site:
        return _refused(box, site, "what came is not what was published: its content hash is")


@fault("hub", injected="a redirect to itself")
def redirect_loop(box: Box) -> Seen:
    """the hub redirects in circles"""
    with serving({SAFE: b""}, get=loopback.circling, head=loopback.circling) as site:
        return _refused(box, site, "redirect")


@fault("hub", injected="a redirect to a second server on loopback, with HF_TOKEN set")
def redirect_elsewhere(box: Box) -> Seen:
    """the hub redirects to another host, which must not see the token"""
    served = content()
    with (
        serving({SAFE: served}) as store,
        serving({SAFE: served}, head=loopback.elsewhere(store.address), get=loopback.elsewhere(store.address)) as site,
    ):
        with asking(box, site.address, stall_s=30, HF_TOKEN="hf_loopbackonly"):
            found = _had()
        assert found.path is not None
        assert found.path.read_bytes() == served
        assert [token for _, path, token in site.asked if path == SAFE] == 2 * ["Bearer hf_loopbackonly"]  # its hash, then the file
        assert store.asked == [("GET", SAFE, None)]
    return Seen(Outcome.recovered, "the weights come from the other host, which was shown no token")


@fault("hub", injected="a redirect to a loopback port that nobody listens at; HARNESS_DOWNLOAD_STALL_S=4")
def redirect_nowhere(box: Box) -> Seen:
    """the hub redirects to a host that is away"""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with serving({SAFE: content()}, head=loopback.elsewhere(away), get=loopback.elsewhere(away)) as site:
            seen = _refused(box, site, "Connection refused", stall_s=4)
        return Seen(seen.outcome, seen.words.replace(away, "http://127.0.0.1:PORT"))


@fault("hub", injected="a read-only mount as HF_HOME, or a folder with chattr +i where none can be made")
def sealed_cache(box: Box) -> Seen:
    """the cache cannot be written"""
    with serving({SAFE: content()}) as site, read_only(box.root / "hub"):
        return _refused(box, site, "cannot be written: ", "set HF_HOME and TORCH_HOME to other folders")


@fault("hub", injected="a tmpfs of 1 MiB as HF_HOME, or RLIMIT_FSIZE of 1 MiB where none can be mounted")
def full_cache(box: Box) -> Seen:
    """the cache has no room"""
    with serving({SAFE: content()}) as site, small_disk(box.root / "hub") as reason:
        return _refused(box, site, f"cannot be written: {reason}; make room there")


@fault("hub", injected="SIGKILL to the process that fetches, half-way; then the same again, undisturbed")
def killed_half_way(box: Box) -> Seen:
    """the process that fetches is killed half-way"""
    with serving({SAFE: content()}, get=loopback.stalling) as site:
        killer = threading.Thread(target=_kill_when_half, args=(box.root / "hub",))
        with asking(box, site.address, stall_s=60):
            killer.start()
            words = refusal(site.address)
            killer.join()
            assert "ended with status -9" in words
            source = published(resolve(NAME))
            assert source is not None
            assert cached_file(source) is None
        site.get = loopback.whole
        with asking(box, site.address, stall_s=60):
            found = _had()
            assert found.path is not None
            assert found.path.read_bytes() == site.files[SAFE]
    return Seen(Outcome.recovered, _short(words, box, site.address))


def _kill_when_half(home: Path) -> None:
    _when_fetching(os.getpid(), home).kill()


# Plain addresses, as torchvision's.


def _refused_plainly(box: Box, site: Site, *parts: str) -> Seen:
    """The same for a file that is not on the hub."""
    source = Published(repo=None, revision=None, filenames=(Path(PLAIN).name,), url=f"{site.address}{PLAIN}")
    with asking(box, site.address, stall_s=30) as home, patch.object(weights, "published", lambda _: source):
        words = refusal(f"{site.address}{PLAIN}")
        for part in parts:
            assert part in words, words
        assert [path for path in home.rglob("*") if path.is_file()] == []
    return Seen(Outcome.refused, _short(words, box, site.address))


@fault("hub", injected="a plain address whose server hangs up after half of the file")
def plain_cut_short(box: Box) -> Seen:
    """a file outside of the hub is cut short"""
    served = content()
    with serving({PLAIN: served}, get=loopback.half) as site:
        return _refused_plainly(box, site, f"{len(served) // 2} of {len(served)} bytes came")


@fault("hub", injected="a plain address that serves another file than its name says")
def plain_wrong_content(box: Box) -> Seen:
    """a file outside of the hub is not what its name says"""
    with serving({PLAIN: content()}) as site:
        return _refused_plainly(box, site, "what came is not what was published: its content hash is", "not b8a52dc0")


@fault("hub", injected="a plain address that redirects to itself")
def plain_redirect_loop(box: Box) -> Seen:
    """an address outside of the hub redirects in circles"""
    with serving({PLAIN: b""}, get=loopback.circling, head=loopback.circling) as site:
        return _refused_plainly(box, site, "HTTP 302 Found; its redirects lead nowhere")


# Whole commands.


def _sweep(box: Box, site: Site, *options: str, backbone: str = f"{NAME}@pretrained", stall_s: float = 30) -> Ended:
    variables: Mapping[str, str] = {
        "HF_ENDPOINT": site.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(box.root / "hub"),
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HARNESS_DOWNLOAD_STALL_S": str(stall_s),
    }
    return box.run(f"backbone={backbone}", "freeze=all", "seed=0", *options, env=dict(variables))


@fault("hub", injected="a sweep from a hub that stalls; then the same command when it does not")
def sweep_from_a_stalling_hub(box: Box) -> Seen:
    """a sweep whose weights stall"""
    with serving({SAFE: content()}, get=loopback.stalling) as site:
        ended = _sweep(box, site, stall_s=4)
        assert ended.status == 3, ended.err
        assert [(row.status, row.val_accuracy) for row in box.rows()] == [(Status.failed, None)]
        site.get = loopback.whole
        again = _sweep(box, site, "retry=failed", stall_s=60)
        assert again.status == 0, again.err
    assert [(row.status, row.weights_source) for row in box.rows()] == [(Status.ok, "hub")]
    return Seen(Outcome.row, _short(ended.line("less than 10 KiB/s"), box, site.address))


@fault(
    "hub",
    injected="a hub that says another hash, for two models, than the files have that it serves: of one always, of the other when it is asked first",
)
def sweep_from_a_lying_hub(box: Box) -> Seen:
    """a sweep from a hub that says wrong hashes"""
    served = content()
    always, first = SAFE, SAFE.replace(NAME, "test_vit")
    lied: set[str] = set()

    def head(visit: loopback.Visit, content: bytes) -> None:
        is_lie = visit.path == always or visit.path not in lied
        lied.add(visit.path)
        (loopback.misnamed if is_lie else loopback.whole)(visit, content)

    with serving({always: served, first: served}, head=head) as site:
        ended = _sweep(box, site, backbone=f"{NAME}@pretrained,test_vit@pretrained,test_resnet@random")
    assert ended.status == 3, ended.err
    of_random, *of_hub = sorted(box.rows(), key=lambda row: row.weights_source != "random")
    assert of_random.status == Status.ok
    assert [(row.status, row.weights_source, row.val_accuracy) for row in of_hub] == [(Status.failed, "hub", None)] * 2
    assert all("what came is not what was published: its content hash is" in str(row.error) for row in of_hub)
    _require_nothing_kept(box.root / "hub")
    return Seen(Outcome.row, _short(ended.line("its content hash is"), box, site.address))


@fault("hub", injected="a sweep over two models, one of them gated")
def sweep_over_a_gated_network(box: Box) -> Seen:
    """a sweep with one model that is gated"""
    refused = loopback.refusing(403, X_Error_Code="GatedRepo")
    with serving({SAFE: b""}, get=refused, head=refused) as site:
        ended = _sweep(box, site, backbone=f"{NAME}@pretrained,test_vit@random")
    assert ended.status == 2, ended.err
    assert not box.results.exists()
    return Seen(Outcome.refused, _short(ended.line("HTTP 403", "set HF_TOKEN"), box, site.address))


@fault("hub", injected="SIGKILL to a sweep while it fetches, and a look at what goes on")
def killed_sweep(box: Box) -> Seen:
    """a sweep is killed while it fetches"""
    with serving({SAFE: content()}, get=loopback.stalling) as site, ExitStack() as ended:
        variables = {"HF_ENDPOINT": site.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(box.root / "hub")}
        process = box.start(f"backbone={NAME}@pretrained", "freeze=all", "seed=0", env=variables)
        ended.callback(process.communicate)
        ended.callback(process.kill)
        fetching = _when_fetching(process.pid, box.root / "hub")
        process.kill()
        _, alive = psutil.wait_procs([fetching], timeout=20)
        assert alive == [], "it goes on fetching for nobody"
    assert list(box.root.rglob("*.incomplete")) == []
    assert box.rows() == []
    return Seen(Outcome.resumed, "the process that fetches ends with the sweep and takes its partial file with it; nothing is printed")


def _when_fetching(pid: int, home: Path) -> psutil.Process:
    """The process that fetches for `pid`, as soon as something has come."""
    wait_for(lambda: any(path.stat().st_size > 1000 for path in home.rglob("*.incomplete")))
    (fetching,) = [
        child for child in psutil.Process(pid).children(recursive=True) if "harness.backbones.download" in " ".join(child.cmdline())
    ]
    return fetching
