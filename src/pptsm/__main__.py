"""The entrance of the command, `pptsm` and `python -m pptsm`.

It is light because each process that decodes imports it once more: `multiprocessing` asks for what its starter ran.
"""


def main() -> None:
    """Run the command."""
    from pptsm.cli import main as run

    run()


if __name__ == "__main__":
    main()
