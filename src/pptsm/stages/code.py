"""Stage `code`: which code each stage runs, one file per stage, on which that stage depends in place of its source."""

from pptsm.stages.options import DEFAULT_PARAMS, OutFolder, ParamsPath


def run(out: OutFolder, params_path: ParamsPath = DEFAULT_PARAMS) -> None:
    """Write the code of each stage, as syntax without comments, and the versions of the libraries that compute.

    What is the same as before is left as it is.
    """
    from pptsm.params.reading import read_sections
    from pptsm.runtime import fingerprint
    from pptsm.runtime.files import remove, whole_file

    texts = {
        f"{stage}.txt": fingerprint.as_text(fingerprint.of_stage(stage, start))
        for stage, start in fingerprint.starts_of(read_sections(params_path)).items()
    }
    for name, text in texts.items():
        file = out / name
        if not (file.is_file() and file.read_text(encoding="utf-8") == text):
            with whole_file(file) as partial:
                partial.write_text(text, encoding="utf-8")
    for other in out.iterdir():
        if other.name not in texts:
            remove(other)
