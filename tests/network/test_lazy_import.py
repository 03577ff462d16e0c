"""The door to libp2p stays shut until a transport is opened."""

import subprocess
import sys


def test_importing_the_port_does_not_import_libp2p() -> None:
    script = (
        "import sys, p2p.network, p2p.network.port, p2p.network.wires\n"
        "sys.exit(any(name.partition('.')[0] == 'libp2p' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
