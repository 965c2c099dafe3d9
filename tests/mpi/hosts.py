"""Training across two emulated hosts: namespaces with names and addresses of their own, joined by a cable.

    sudo python tests/mpi/hosts.py [--ranks 4]

Needs Linux, root, iproute2, mpi4py, and Open MPI or MPICH.  mpiexec runs on the first host and reaches the second one
by an agent in place of ssh; shared memory is forbidden, so that all messages of MPI go over TCP.  tests/mpi/train.py
runs on all ranks; their weights must be those of one process, and bytes must have gone over the cable.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import ranks  # noqa: E402

HOSTS = {"pynet-a": "10.177.0.1", "pynet-b": "10.177.0.2"}  # namespace: address
NET = "10.177.0.0/24"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def on(host: str) -> list[str]:
    """Return what runs the shell command behind it on a host."""
    return ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c", f'hostname {host}; eval "$0"']


def connect() -> None:
    """Make the hosts and the cable between them."""
    first, second = HOSTS
    for host in HOSTS:
        ip("netns", "add", host)
    ip("link", "add", "cable", "netns", first, "type", "veth", "peer", "name", "cable", "netns", second)
    for host, address in HOSTS.items():
        ip("-n", host, "address", "add", f"{address}/24", "dev", "cable")
        for device in ("lo", "cable"):
            ip("-n", host, "link", "set", device, "up")
    until = time.monotonic() + 30
    for host in HOSTS:  # a kernel takes up to a second to see the other end; MPICH looks once
        while " UP " not in ip("-n", host, "-brief", "link", "show", "cable"):
            assert time.monotonic() < until, "the cable does not come up"
            time.sleep(0.05)


def disconnect() -> None:
    """Take away what `connect` made: the cable goes with its ends."""
    for host in HOSTS:
        subprocess.run(["ip", "netns", "delete", host], capture_output=True)


def bytes_received(host: str) -> int:
    path = "/sys/class/net/cable/statistics/rx_bytes"
    return int(ip("netns", "exec", host, "cat", path))


def write_agent(path: Path) -> None:
    """Write what is called as ssh would be: AGENT HOST COMMAND..."""
    cases = "\n".join(f'{address}) exec {shlex.join(on(host))} "$*" ;;' for host, address in HOSTS.items())
    path.write_text(
        '#!/bin/sh\nwhile [ "$1" = -x ]; do shift; done\nhost=$1\nshift\n'
        f'case $host in\n{cases}\n*) echo "no host $host" >&2; exit 1 ;;\nesac\n'
    )
    path.chmod(0o755)


def environment(agent: Path) -> dict[str, str]:
    """Return what tells MPICH, and Open MPI 4 and 5, of the agent and of the net."""
    ours = {
        "plm_rsh_agent": str(agent), "plm_ssh_agent": str(agent), "oob_tcp_if_include": NET, "prte_if_include": NET,
        "btl_tcp_if_include": NET, "btl": "self,tcp", "pml": "ob1",
    }  # fmt: skip
    hydra = {"HYDRA_LAUNCHER": "ssh", "HYDRA_LAUNCHER_EXEC": str(agent), "HYDRA_IFACE": "cable",
             "UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "cable"}  # fmt: skip
    return hydra | {f"{system}_MCA_{name}": value for name, value in ours.items() for system in ("OMPI", "PRTE")}


def train(size: int, folder: Path) -> int:
    """Run train.py, half of the ranks on each host; return the bytes that went over the cable."""
    agent, (first, second) = folder / "agent", HOSTS
    write_agent(agent)
    more = environment(agent) | ranks.ENVIRONMENT
    hosts = ",".join(f"{address}:{size // 2}" for address in HOSTS.values())
    version = subprocess.run([ranks.launcher(), "--version"], capture_output=True, text=True).stdout
    if "HYDRA" in version:
        options = ["-hosts", hosts]
    else:
        options = ["--host", hosts, "--map-by", "node", "-x", "PYTHONPATH"]
    command = shlex.join([ranks.launcher(), "-n", str(size), *options,
                          sys.executable, "-m", "mpi4py", str(HERE / "train.py"), str(folder)])  # fmt: skip
    before = bytes_received(second)
    print(f"{first}$ {command}", flush=True)
    subprocess.run([*on(first), command], check=True, timeout=180, env=os.environ | more)
    return bytes_received(second) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=4)
    size = parser.parse_args().ranks
    assert ranks.launcher(), "no mpiexec that goes with mpi4py"
    disconnect()  # what a run that was killed may have left
    try:
        connect()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sent = train(size, folder)
            plain, shards = ranks.trainer(), ranks.trainer()
            ranks.fit(plain)
            ranks.fit(shards, shards=4)
            away = 0.0
            for rank in range(size):
                with np.load(folder / f"plain-{size}-{rank}.npz") as file:
                    away = max(away, float(np.abs(file["arena"] - plain.model.arena).max()))
                with np.load(folder / f"shards-{size}-{rank}.npz") as file:
                    assert np.array_equal(file["arena"], shards.model.arena), f"shards: rank {rank} has other bits"
        assert away < 1e-5, f"weights differ by {away}"
        assert sent > 1e5, f"only {sent} bytes went over the cable"
    finally:
        disconnect()
    print(f"{size} ranks on two hosts: weights within {away:.1e} of one process, with shards the same bits; "
          f"{sent / 1e6:.1f} MB over the cable")  # fmt: skip


if __name__ == "__main__":
    main()
