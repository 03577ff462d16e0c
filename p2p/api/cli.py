"""`p2p`: the command line.

Nothing heavy is imported here or at the top of a command's file, so that help appears at once; each
command imports what it needs when it runs. Exit codes: 0 done, 1 the thing asked for failed,
2 bad usage, 130 interrupted.
"""

import os
import sys

import typer

from p2p.api.commands import blobs, channel, consensus, ledger, light, local, node, offer
from p2p.node.errors import UserError

app = typer.Typer(
    name="p2p",
    help="A node of the Gigmesh network: lend storage, store files, see what was earned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

local.add_commands(app)
node.add_commands(app)
consensus.add_commands(app)
blobs.add_commands(app)
app.add_typer(offer.app, name="offer", help="What this node lends, and whether.")
app.add_typer(channel.app, name="channel", help="Deposits that pay providers.")
ledger.add_commands(app)
app.add_typer(light.light, name="light", help="Proofs that trust no node.")


def main() -> None:
    """Run a command and leave the process with its exit code."""
    try:
        app()
    except UserError as error:
        print(f"p2p: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as leaving:
        if isinstance(leaving, KeyboardInterrupt) or leaving.code == 130:
            print("p2p: interrupted", file=sys.stderr)
            sys.exit(130)
        raise


if __name__ == "__main__":
    main()
