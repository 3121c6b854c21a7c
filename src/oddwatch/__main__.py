"""The command `oddwatch`, also as `python -m oddwatch`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C is answered as well while it is still being imported."""
    try:
        from oddwatch.cli import main as run
    except KeyboardInterrupt:
        print("oddwatch: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
