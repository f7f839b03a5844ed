"""Reading and writing params.yaml, as frozen, validated dataclasses. No other module reads or writes it."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import io
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.project.sections import CHOICES, Choice, all_sections
from flows.project.yaml_files import parse_yaml
from headforge.errors import ConfigError
from headforge.store.files import write_bytes
from tasks.inputs.named_inputs import NAMED_INPUT

PARAMS_FILE = "params.yaml"
PORTRAITS = "portraits"
BUILTIN_PORTRAITS = ("builtin:astronaut",)
PORTRAITS_HELP = "Photos to make avatars of, by name: a picture's SHA-256 in the store, or builtin:astronaut."
ASSETS = "assets"
ASSETS_HELP = "Weights of other projects, by name: the SHA-256 that 'headforge assets add' prints."
VIDEOS = "videos"
VIDEOS_HELP = "Videos of a person to track, by name: a video's SHA-256 in the store."
LANDMARKS = "landmarks"
LANDMARKS_HELP = "Landmarks to use instead of detected ones, by name of the video: a file's SHA-256 in the store."
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Settings:
    """All of params.yaml, validated."""

    sections: Mapping[str, Any]
    """One frozen dataclass per section."""
    portraits: Mapping[str, str] = field(default_factory=dict)
    """By name: SHA-256 of the picture, with @N for a face other than the largest, or builtin:astronaut."""
    assets: Mapping[str, str] = field(default_factory=dict)
    """By name: SHA-256 of the source of an asset in the store."""
    videos: Mapping[str, str] = field(default_factory=dict)
    """By name: SHA-256 of the video, with @N for a face other than the largest."""
    landmarks: Mapping[str, str] = field(default_factory=dict)
    """By name of the video: SHA-256 of a landmark file."""
    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By stage: names of the methods that it uses, from `train.models` and `fit.methods`."""

    def __getitem__(self, section: str) -> Any:
        """Return the dataclass of a section."""
        return self.sections[section]


@dataclass(frozen=True)
class Change:
    """A changed value of params.yaml."""

    key: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}"


def load_settings(root: Path) -> Settings:
    """Read and validate the params.yaml of a project."""
    return validate(_read(root / PARAMS_FILE, YAML(typ="safe")), PARAMS_FILE)


def change_params(
    root: Path,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    portraits: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    videos: Mapping[str, str] | None = None,
    landmarks: Mapping[str, str] | None = None,
) -> tuple[Settings, list[Change]]:
    """Apply changes to params.yaml; return the new settings and the changed values.

    The order is: preset, `section.key=value` assignments, portraits, videos and landmarks (replacing the present ones),
    assets (added to the present ones). Comments and layout of the file are kept. Raises ConfigError, without writing
    the file, if a value is invalid.
    """
    named = {PORTRAITS: portraits, VIDEOS: videos, LANDMARKS: landmarks}
    settings, changes, text = _changed(root, preset, assignments, named, assets)
    if changes:
        write_bytes(root / PARAMS_FILE, text.encode())
    return settings, changes


def preview_params(root: Path, preset: str | None = None, assignments: Sequence[str] = ()) -> Settings:
    """Return the settings that `change_params` would produce, without writing params.yaml."""
    return _changed(root, preset, assignments, {})[0]


def validate(document: Mapping[str, Any], source: str) -> Settings:
    """Convert the content of a params.yaml to dataclasses; raises ConfigError for the first invalid value."""
    if not isinstance(document, Mapping):
        raise ConfigError(source, document, f"{source} is not a mapping of sections.", "restore it from git.")
    types = all_sections()
    known = (*(name for name in types if "." not in name), PORTRAITS, ASSETS, VIDEOS, LANDMARKS)
    for name in document:
        if name not in known:
            raise _unknown(str(name), "section", known, source)
    methods = {stage: _chosen(stage, choice, document, source) for stage, choice in CHOICES.items()}
    _require_models(methods)
    sections = {name: _section(name, section_type, types, document, source) for name, section_type in types.items()}
    portraits = _named_inputs(document, PORTRAITS, "portrait", "PHOTO", BUILTIN_PORTRAITS, source)
    videos = _named_inputs(document, VIDEOS, "video", "FILE", (), source)
    landmarks = _named_inputs(document, LANDMARKS, "landmarks", "FILE", (), source)
    for name in landmarks:
        if name not in videos:
            raise ConfigError(f"{LANDMARKS}.{name}", name, f"{LANDMARKS}.{name}: there is no video of that name.",
                              "give both: --video FILE --landmarks FILE.")  # fmt: skip
    for name in portraits:
        if name in CHOICES["fit"].methods:
            message = f"the portrait '{name}' has the name of a method that fits avatars."
            raise ConfigError(
                f"{PORTRAITS}.{name}", name, message, "rename it: data/avatars has a folder of that name."
            )
    return Settings(sections, portraits, _assets(document.get(ASSETS) or {}, source), videos, landmarks, methods)


def preset_names(root: Path) -> list[str]:
    """Return the names of a project's presets."""
    return sorted(path.stem for path in (root / "presets").glob("*.yaml"))


def field_help(section_type: type) -> dict[str, str]:
    """Return the docstring under each field of a settings dataclass, on one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(section_type))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for here, following in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(here, ast.AnnAssign) and isinstance(here.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            found[here.target.id] = " ".join(str(following.value.value).split())
    return found


def render_params() -> str:
    """Render a params.yaml of all defaults, with each field's docstring as a comment above its value."""
    lines = ["# All settings. `headforge run -S section.key=value` edits this file and prints the change;"]
    lines += ["# `--preset NAME` applies presets/NAME.yaml to it. DVC reruns the stages whose values changed."]
    for name, section_type in all_sections().items():
        method = name.partition(".")[2]
        indent = "  " if method else ""
        lines += ["", f"{indent}{method or name}:"]
        if name in CHOICES:
            lines += _rendered_choice(CHOICES[name])
        explained = field_help(section_type)
        for item in dataclasses.fields(section_type):
            lines += [f"{indent}  # {line}" for line in textwrap.wrap(explained.get(item.name, ""), 110)]
            lines.append(f"{indent}  {item.name}: {_shown(_default(item))}")
    lines += ["", f"# {PORTRAITS_HELP}", f"{PORTRAITS}:", f"  astronaut: {BUILTIN_PORTRAITS[0]}"]
    lines += ["", f"# {ASSETS_HELP}", f"{ASSETS}: {{}}"]
    lines += ["", f"# {VIDEOS_HELP}", f"{VIDEOS}: {{}}"]
    lines += ["", f"# {LANDMARKS_HELP}", f"{LANDMARKS}: {{}}", ""]
    return "\n".join(lines)


def _rendered_choice(choice: Choice) -> list[str]:
    known = f"{choice.purpose} There are: {', '.join(choice.methods)}."
    comment = [f"  # {line}" for line in textwrap.wrap(known, 110)]
    return [*comment, f"  {choice.key}: [{', '.join(choice.default)}]"]


def _changed(
    root: Path,
    preset: str | None,
    assignments: Sequence[str],
    named: Mapping[str, Mapping[str, str] | None],
    assets: Mapping[str, str] | None = None,
) -> tuple[Settings, list[Change], str]:
    """Return the settings, the changes and the new text of the file."""
    document = _read(root / PARAMS_FILE)
    changes: list[Change] = []
    for section, values in (_read_preset(root, preset) if preset is not None else {}).items():
        changes += _assign(document, section, values, f"presets/{preset}.yaml")
    for text in assignments:
        section, values = _parse_assignment(text)
        changes += _assign(document, section, values, text)
    for section, inputs in named.items():
        if inputs is not None and dict(document.get(section) or {}) != dict(inputs):
            changes.append(Change(section, dict(document.get(section) or {}), dict(inputs)))
            document[section] = dict(inputs)
    if assets:
        before = dict(document.get(ASSETS) or {})
        changes += [Change(f"{ASSETS}.{k}", before.get(k), v) for k, v in assets.items() if before.get(k) != v]
        document[ASSETS] = before | dict(assets)
    written = io.StringIO()
    _yaml().dump(document, written)
    return validate(YAML(typ="safe").load(written.getvalue()), PARAMS_FILE), changes, written.getvalue()


def _default(item: dataclasses.Field[Any]) -> object:
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default


def _shown(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w:./-]*", value) and value not in ("true", "false", "null"):
        return value
    if isinstance(value, float) and value == value and "e" in repr(value) and "." not in repr(value):
        return repr(value).replace("e", ".0e")  # YAML 1.1 readers take 1e-05 for a string
    return json.dumps(list(value) if isinstance(value, tuple) else value, default=str)


def _section(name: str, section_type: type, types: Mapping[str, type], document: Mapping[str, Any], source: str) -> Any:
    """Return the dataclass of a section of the document; missing values get their defaults."""
    values = _values_of(name, document, source)
    nested = [other.rpartition(".")[2] for other in types if other.rpartition(".")[0] == name]
    chooses = [CHOICES[name].key] if name in CHOICES else []
    fields = [item.name for item in dataclasses.fields(section_type)]
    for key in values:
        if key not in (*fields, *nested, *chooses):
            raise _unknown(f"{name}.{key}", "setting", [f"{name}.{known}" for known in (*chooses, *fields)], source)
    hints = get_type_hints(section_type)
    given = {str(key): value for key, value in values.items() if key in fields}
    return section_type(**{key: _checked(f"{name}.{key}", hints[key], value) for key, value in given.items()})


def _values_of(name: str, document: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    values: Any = document
    for part in name.split("."):
        values = values.get(part) or {}
        if not isinstance(values, Mapping):
            raise ConfigError(
                name, values, f"{name} in {source} is {_shown(values)}, not settings.", "restore it from git."
            )
    return values


def _chosen(stage: str, choice: Choice, document: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """Return the names of the methods that a stage uses."""
    key = f"{stage}.{choice.key}"
    names = _checked(key, tuple[str, ...], _values_of(stage, document, source).get(choice.key, choice.default))
    for name in names:
        if name not in choice.methods:
            message = f"{key} in {source} names the unknown method '{name}'."
            raise ConfigError(key, name, message, _nearest(name, choice.methods))
        if names.count(name) > 1:
            raise ConfigError(key, names, f"{key} names '{name}' {names.count(name)} times.", "name it once.")
    return names


def _require_models(methods: Mapping[str, Sequence[str]]) -> None:
    trained = methods["train"]
    for name in methods["fit"]:
        for model in CHOICES["fit"].methods[name].needs:
            if model not in trained:
                raise ConfigError(
                    "train.models", trained, f"the method {name} of fit.methods needs the model {model}, "
                    f"and train.models is {_shown(trained)}.",
                    f"add {model} to train.models, or take {name} out of fit.methods.",
                )  # fmt: skip


def _checked(key: str, field_type: Any, value: Any) -> Any:
    plain = tuple(value) if isinstance(value, list) else value
    try:
        return TypeAdapter(field_type).validate_python(plain, strict=True)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigError(
            key, plain, f"{key} is {_shown(plain)}: {message[0].lower()}{message[1:]}.",
            f"give {key} a value of the type it has in {PARAMS_FILE}.",
        ) from None  # fmt: skip


def _named_inputs(
    document: Mapping[str, Any], section: str, kind: str, option: str, builtin: tuple[str, ...], source: str
) -> dict[str, str]:
    values = document.get(section) or {}
    if not isinstance(values, Mapping):
        raise ConfigError(section, values, f"{section} in {source} is {_shown(values)}, not names and files.",
                          f"write one 'name: sha256' per line, or use --{kind} {option}.")  # fmt: skip
    for name, value in values.items():
        if not _NAME.fullmatch(str(name)):
            raise ConfigError(f"{section}.{name}", name, f"'{name}' can't be the name of a {kind}.",
                              "use a small letter, then small letters, digits, - and _.")  # fmt: skip
        if value not in builtin and not NAMED_INPUT.fullmatch(str(value)):
            raise ConfigError(f"{section}.{name}", value, f"{section}.{name} is {_shown(value)}, no SHA-256.",
                              f"use 'headforge run --{kind} {option}', which stores the file.")  # fmt: skip
    return {str(name): str(value) for name, value in values.items()}


def _assets(values: Any, source: str) -> dict[str, str]:
    help = "use 'headforge assets add KIND PATH --name NAME'."
    if not isinstance(values, Mapping):
        message = f"{ASSETS} in {source} is {_shown(values)}, not names and SHA-256s."
        raise ConfigError(ASSETS, values, message, f"write one 'name: sha256' per line, or {help}")
    for name, digest in values.items():
        if not _NAME.fullmatch(str(name)):
            raise ConfigError(f"{ASSETS}.{name}", name, f"'{name}' can't be the name of an asset.",
                              "use a small letter, then small letters, digits, - and _.")  # fmt: skip
        if not _SHA256.fullmatch(str(digest)):
            raise ConfigError(f"{ASSETS}.{name}", digest, f"{ASSETS}.{name} is {_shown(digest)}, no SHA-256.", help)
    return {str(name): str(digest) for name, digest in values.items()}


def _unknown(found: str, kind: str, known: Iterable[str], source: str) -> ConfigError:
    return ConfigError(found, found, f"{source} has the unknown {kind} '{found}'.", _nearest(found, known))


def _nearest(found: str, known: Iterable[str]) -> str:
    """Return the help that names the most similar known name, or all if none is similar."""
    names = list(known)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}."


def _parse_assignment(text: str) -> tuple[str, dict[str, object]]:
    key, equals, value = text.partition("=")
    section, name = _split(key.strip())
    if not (equals and name):
        raise ConfigError(key, text, f"'{text}' is not an assignment.", "write -S section.key=value.")
    try:
        return section, {name: parse_yaml(value)}
    except YAMLError as error:
        raise ConfigError(key, value, f"the value of '{text}' is not YAML.", "quote it: -S 'key=\"value\"'.") from error


def _split(key: str) -> tuple[str, str]:
    """Split a key into section and name; a section with a dot, such as "fit.coin", holds a method's settings."""
    nested = [section for section in all_sections() if "." in section and key.startswith(f"{section}.")]
    if nested:
        return nested[0], key.removeprefix(f"{nested[0]}.")
    section, _, name = key.partition(".")
    return section, name


def _assign(document: Any, section: str, values: Any, source: str) -> list[Change]:
    types = all_sections()
    known = (*types, PORTRAITS, ASSETS, VIDEOS)
    if section not in known:
        raise _unknown(section, "section", known, source)
    if not isinstance(values, Mapping):
        message = f"{source} gives the section {section} {_shown(values)}, expected settings."
        raise ConfigError(section, values, message, f"write {section}.name=value, or 'name: value' below '{section}:'.")
    fields = [item.name for item in dataclasses.fields(types[section])] if section in types else list(values)
    fields += [CHOICES[section].key] if section in CHOICES else []
    changes = []
    for name, value in values.items():
        if f"{section}.{name}" in types:
            changes += _assign(document, f"{section}.{name}", value, source)
            continue
        if name not in fields:
            raise _unknown(f"{section}.{name}", "setting", [f"{section}.{known}" for known in fields], source)
        place = _place(document, section)
        before = place.get(name)
        if before != value or type(before) is not type(value):
            place[name] = value
            if before != value:
                changes.append(Change(f"{section}.{name}", before, value))
    return changes


def _place(document: Any, section: str) -> Any:
    """Return the mapping of a section in the document; create it if it is missing."""
    place = document
    for part in section.split("."):
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, MutableMapping):
            message = f"{section} is {_shown(place)} in {PARAMS_FILE}, expected settings."
            raise ConfigError(section, place, message, f"write 'name: value' below '{section}:'.")
    return place


def _read_preset(root: Path, preset: str) -> Mapping[str, Any]:
    names = preset_names(root)
    if preset not in names:
        near = difflib.get_close_matches(preset, names, n=1, cutoff=0.4)
        help = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}."
        raise ConfigError("preset", preset, f"there is no preset '{preset}'.", help)
    return _read(root / "presets" / f"{preset}.yaml")


def _read(path: Path, yaml: YAML | None = None) -> Any:
    try:
        found = parse_yaml(path.read_text(encoding="utf-8"), yaml or _yaml()) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path.name, None, f"{path} can't be read: {error}.", "restore it from git.") from error
    except YAMLError as error:
        where = " ".join(str(error).split())
        raise ConfigError(path.name, None, f"{path.name} is not YAML: {where}", "fix that line.") from error
    if not isinstance(found, Mapping):
        message = f"{path.name} holds a {type(found).__name__}, expected sections."
        raise ConfigError(path.name, None, message, "write 'section:' and its settings below it.")
    return found


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


if __name__ == "__main__":
    print(render_params(), end="")
