"""A params.yaml from a preset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pptsm.runtime.errors import UserError

if TYPE_CHECKING:
    pass


def preset(
    name: Annotated[str | None, typer.Argument(help="Name of a preset; --list shows them.")] = None,
    weights_name: Annotated[
        str | None, typer.Option("--weights", help="For preset eval: a name that `pptsm weights` lists.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, laid over the preset; repeatable.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print what differs from the base; write nothing.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the presets.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace params.yaml even if it was edited.")] = False,
    params_path: Annotated[Path, typer.Option("--params", help="The file to write.")] = Path("params.yaml"),
) -> None:
    """Write a complete, commented params.yaml: the base with a preset's values and yours.

    A file that was edited since is not replaced without --force.
    """
    from pptsm.presets.compose import (
        PRESETS,
        Choice,
        as_yaml,
        chosen_params,
        compose,
        difference,
        preset_names,
        written_by,
    )
    from pptsm.runtime.console import say
    from pptsm.runtime.files import atomic_file, require_writable

    if show_list or name is None:
        for known, first_line in preset_names(PRESETS).items():
            say(f"{known:28} {first_line}")
        return
    choice = Choice(name, weights_name, tuple(settings or ()))
    if show:
        chosen_params(PRESETS, choice)
        say(as_yaml(difference(PRESETS, choice)).rstrip("\n"))
        return
    text = compose(PRESETS, choice)
    require_writable(params_path)
    replaced = None
    if params_path.exists() and not force:
        replaced = written_by(PRESETS, params_path.read_text(encoding="utf-8", errors="replace"))
        if replaced is None:
            raise UserError(
                f"{params_path} was edited: it is not what the command in its head writes. Keep a copy, or replace it "
                f"with `{choice.command} --force`."
            )
    with atomic_file(params_path) as partial:
        partial.write_text(text, encoding="utf-8")
    was = "" if replaced in (None, choice.command) else f" (it was `{replaced}`)"
    here = Path("dvc.yaml").is_file()
    say(f"{params_path} is now preset {name}{was}. Next: dvc repro{'' if here else ', in a clone of the project'}")
