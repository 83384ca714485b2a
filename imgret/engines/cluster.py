"""Cluster: the way to Ray, and what goes wrong there in words a user can act on."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from imgret.errors import EngineError, ImgretError

if TYPE_CHECKING:
    from types import ModuleType

RETRIES = 20  # of a piece of work whose process or machine went away
_FRESH = 1.0  # seconds for which it is known what machines there are
_PATIENCE = 5.0  # seconds for a first answer from an address
# HTTP/2's opening, which gRPC speaks, with an empty SETTINGS frame (RFC 9113, 3.4), and the type of such a frame
_HELLO, _SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), b"\x04"
_OBJECTS = 2 << 30  # bytes of shared memory for what is on its way, where this process starts Ray


def import_ray() -> ModuleType:
    """The library; EngineError with the line that installs it."""
    # Ray reports usage unless told otherwise; whoever wants that sets the variable.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as later versions do; it warns otherwise
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # a lost task is heard of where its answer is waited for
    # Who asks for a task says how often it is tried again after it was stopped for memory; otherwise for ever.
    os.environ.setdefault("RAY_task_oom_retries", "3")
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise EngineError(f"--engine ray needs Ray ({error}); type: pip install 'imgret[ray]'") from error
    return ray


@contextmanager
def connected(address: str | None, cpus: int) -> Iterator[Cluster]:
    """The cluster at an address, for as long as it is needed.

    address  'local': Ray is started here with `cpus` and ended after; 'auto': the cluster that runs on this machine or
             that RAY_ADDRESS names; HOST:PORT or ray://HOST:PORT; None: 'auto' where RAY_ADDRESS is set, else 'local'

    A process that is connected already uses that connection and leaves it open.

    EngineError where nothing answers, or something of another version.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield Cluster(ray)
        return
    if address is None:
        address = "auto" if os.environ.get("RAY_ADDRESS") else "local"
    named = os.environ.get("RAY_ADDRESS", "")
    if address not in ("auto", "local"):
        _check_answers(address, f"--ray-address {address}")
    elif address == "auto" and named not in ("", "auto", "local"):
        _check_answers(named, f"RAY_ADDRESS={named}")
    how: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        how |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _OBJECTS}
    stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**how)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        raise EngineError(f"--ray-address {address}: {_first_line(error)}; {_advice(address, error)}") from error
    try:
        if stop is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, stop)  # Ray puts its own in the place of the command's
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _check_answers(address: str, said: str) -> None:
    """Ray itself tries an address that is wrong for a minute. `said` is where it comes from, as it was typed."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise EngineError(f"{said} is not auto, local, HOST:PORT or ray://HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE) as line:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                line.sendall(_HELLO)
                if (answer := line.recv(9))[3:4] != _SETTINGS:  # what every gRPC server says first
                    raise OSError(f"what answers is not Ray: {answer!r}")
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"{said}: no Ray cluster answers there ({error}); `ray status` on its head node says where it listens, "
            "--ray-address local starts one here"
        ) from error


def _advice(address: str, error: BaseException) -> str:
    if "version" in str(error).lower():
        return "install the same versions of Ray and Python everywhere"
    if address == "auto":
        return "start a cluster with `ray start --head`, or name one: --ray-address HOST:PORT"
    return "--ray-address local starts Ray on this machine"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__


class Cluster:
    """A connection: what machines there are, and results of remote calls with errors in words."""

    def __init__(self, ray: ModuleType) -> None:
        self.ray: Any = ray
        self._nodes: list[dict[str, Any]] = []
        self._asked = -_FRESH

    def nodes(self) -> list[dict[str, Any]]:
        """The machines that are up, as Ray describes them; asked for once a second at most."""
        if time.monotonic() - self._asked >= _FRESH:
            self._nodes = [node for node in self.ray.nodes() if node["Alive"]]
            self._asked = time.monotonic()
        return self._nodes

    def count(self, resource: str) -> float:
        """How many of a resource, 'CPU' or 'GPU', the machines that are up have together."""
        return float(sum(node["Resources"].get(resource, 0) for node in self.nodes()))

    def on(self, node: dict[str, Any], *, only: bool = False) -> Any:
        """A place on a machine, or on another one when it is gone, unless `only` this will do."""
        return self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=not only)

    def get(self, ref: Any) -> Any:
        """What a remote call gave. An ImgretError that it raised comes as itself.

        EngineError when it could not be done, also not by other workers. WorkerLostError when what did it went away, as
        often as it was tried; ActorLostError when that was an actor.
        """
        lost = self.ray.exceptions
        try:
            return self.ray.get(ref)
        except lost.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, ImgretError):
                raise cause from None
            raise EngineError(f"a worker failed: {_cause(error)}") from error
        except (lost.WorkerCrashedError, lost.OutOfMemoryError, lost.NodeDiedError, lost.ObjectLostError) as error:
            raise WorkerLostError(f"a worker ended again and again: {_first_line(error)}") from error
        except lost.RayActorError as error:
            if error.actor_init_failed:
                raise EngineError(f"a worker failed: {_words(error)}") from error
            raise ActorLostError(f"its worker went away ({_cause(error).partition('. ')[0]})") from error
        except lost.ActorUnschedulableError as error:
            raise ActorLostError(f"its machine went away ({_first_line(error)})") from error
        except (lost.RayError, ConnectionError) as error:
            raise EngineError(f"Ray: {_first_line(error)}; run the same again") from error

    def finished(self, refs: Iterable[Any], within: float = 0) -> list[Any]:
        """Those of the calls that are done, without waiting, or when the first is done `within` some seconds."""
        refs = list(refs)
        if not refs:
            return []
        return self.ray.wait(refs, num_returns=1 if within else len(refs), timeout=within, fetch_local=False)[0]

    def some_unfinished(self, refs: list[Any], within: float | None = None) -> list[Any]:
        """Those of the calls that are not done, once one or more are or `within` so many seconds; failed is done."""
        return self.ray.wait(refs, num_returns=1, timeout=within, fetch_local=False)[1]


class WorkerLostError(EngineError):
    """The process or machine that did a piece of work went away, as often as it was tried."""


class ActorLostError(WorkerLostError):
    """An actor went away for good, and what it held with it."""


def _cause(error: BaseException) -> str:
    text = str(error)
    if "No module named 'imgret" in text:
        return "imgret is not installed on its machine; install the same version on every machine of the cluster"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _words(error: BaseException) -> str:
    """The ImgretError that ended a worker before it began, else the last line of what is known."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):
        name, colon, message = line.partition(": ")
        if colon and name.startswith("imgret.errors."):
            return message
    return _cause(error)
