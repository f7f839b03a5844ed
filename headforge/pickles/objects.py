"""Rebuild functions for classes that callers of `read_pickle` allow."""

from __future__ import annotations

from headforge.pickles.records import Holder


def as_dict(holder: Holder) -> dict[object, object]:
    """Return the entries of a kind of dict, including those of its attributes.

    Raises ValueError if it is made from any other data.
    """
    if len(holder.args) > 1 or holder.items:
        raise ValueError(f"{holder.class_name} is not filled like a dict")
    made: dict[object, object] = {}
    if holder.args:
        given = holder.args[0]
        if not isinstance(given, dict | list | tuple):
            raise ValueError(f"{holder.class_name} is made from {type(given).__name__}, not from pairs")
        made.update(given)
    made.update(holder.pairs)
    if isinstance(holder.state, dict):
        made.update(holder.state)
    return made


def as_persistent(holder: Holder) -> Holder:
    """Return the object that `torch_utils.persistence._reconstruct_persistent_obj` of StyleGAN's family describes.

    The file carries the source text of the class, which is neither run nor kept. `class_name` is the class's name
    without a module; `state` its attributes; `args` and `kwargs` what its constructor was given. Raises ValueError if
    any of these is missing.
    """
    meta = holder.args[0] if len(holder.args) == 1 else None
    if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("class_name"), str):
        raise ValueError("a persistent object has no class name")
    state = meta.get("state")
    attributes = dict(state) if isinstance(state, dict) else {}
    args, kwargs = attributes.get("_init_args", ()), attributes.get("_init_kwargs", {})
    if not isinstance(args, tuple | list) or not isinstance(kwargs, dict):
        raise ValueError(f"the persistent object {meta['class_name']} was made from no arguments")
    return Holder(meta["class_name"], tuple(args), {str(k): v for k, v in kwargs.items()}, attributes)
