"""`prunebench`, and `python -m prunebench`."""

import os
import sys


def main() -> None:
    """The console command: `prunebench.cli`, or one line and exit code 2 where a package of the workflow is missing."""
    if server := os.environ.get("PRUNEBENCH_SERVER"):
        from prunebench.server import hand_over

        hand_over(server)
    if "export" not in sys.argv[1:3]:
        # pandas would load it where it is installed: it starts threads, beside which no job can be forked, and some
        # comparisons of text and numbers are errors with it.
        sys.modules.setdefault("pyarrow", None)  # type: ignore[arg-type]
    from prunebench.runs import numerics

    numerics.pin()
    try:
        from prunebench import cli

        cli.main()
    except ModuleNotFoundError as error:
        if "--debug" in sys.argv or (error.name or "prunebench").split(".")[0] == "prunebench":
            raise
        print("prunebench needs its workflow extra: pip install 'prunebench[workflow]'", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
