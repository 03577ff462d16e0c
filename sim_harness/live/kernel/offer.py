"""What this machine's kernel offers for faults of the network, found out by trying."""

import os
import shutil
import subprocess
import sys
from typing import Final

import msgspec

from sim_harness.live.kernel.namespace import tools_environment, unshare_words

TOOLS: Final = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
}
"""Commands that are needed, by the Debian package that has them."""
TRY_S: Final = 120
NFTABLES: Final = "nftables"
HTB: Final = "tc htb"
NFQUEUE: Final = "NFQUEUE"
TRANSPORT: Final = "transport"
WORDS: Final = {
    "partition": NFTABLES,
    "disconnect": NFTABLES,
    "loss": NFTABLES,
    "black_hole": NFTABLES,
    "bandwidth": HTB,
    "delay": NFQUEUE,
}
"""What of the kernel does each word; all others are the transport's, or none of the network."""


class KernelLacks(Exception):
    """There can be no faults by the kernel here; in a sentence."""


class Offer(msgspec.Struct, frozen=True):
    """Of each backend why it does not work here; nothing where it does."""

    nftables: str = ""
    """Without it there is none at all."""
    htb: str = ""
    nfqueue: str = ""
    netem: str = ""
    """Told only: no fault rests on it (decision 0025)."""

    def backend(self, word: str) -> str:
        """What does this word here."""
        backend = WORDS.get(word, TRANSPORT)
        why = {NFTABLES: self.nftables, HTB: self.htb, NFQUEUE: self.nfqueue}.get(backend, "")
        return TRANSPORT if why else backend


def find_offer() -> Offer:
    """Try everything, in a namespace that ends with it; about a second."""
    environment = tools_environment()
    path = environment["PATH"]
    missing = [name for name in TOOLS if shutil.which(name, path=path) is None]
    if missing:
        why = f"there is no {missing[0]} here (Debian: {TOOLS[missing[0]]})"
        return Offer(why, why, why, why)
    command = [*unshare_words(), sys.executable, "-m", "sim_harness.live.kernel.trial"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=TRY_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    else:
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout, type=Offer)
        told = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        who = "" if os.geteuid() == 0 else ", and who is not root needs user namespaces"
        why = f"no network namespace could be made{who}: {told[0][:120]}"
    return Offer(why, why, why, why)


def require_offer() -> Offer:
    """What there is for `--faults kernel`. Raises KernelLacks when that is too little."""
    offer = find_offer()
    if offer.nftables:
        raise KernelLacks(f"--faults kernel cannot be had: {offer.nftables}")
    return offer
