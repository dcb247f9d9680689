"""Stage `report`: the accuracy report as Markdown and as one self-contained page. Seconds."""
def run() -> None:
    """todo"""
