from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headforge.errors import DataError, StoreError
from headforge.store.objects import manifest, publish
from headforge.store.objects import store as objects
from headforge.store.objects.manifest import MANIFEST, Made, read_manifest, settle
from headforge.store.objects.store import DamagedObjectError, Note, Recipe, Store

RECIPE = Recipe("synthesize", 1, {"seed": 0, "range": (1, 2)}, {"head": "abc"}, {"device": "cpu"})
CONTENT = {"part.parquet": b"rows" * 100, "nested/deep/info.json": b"{}"}


def fill(folder: Path) -> None:
    for name, data in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def must_not_run(folder: Path) -> None:
    raise AssertionError("made again although it is there")


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def damage(path: Path, data: bytes | None = None, *, keep_mtime: bool = False) -> None:
    """Overwrite a read-only file in place, by other bytes of the same length unless `data` is given."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data if data is not None else b"x" * status.st_size)
        file.truncate()
    mtime = status.st_mtime_ns if keep_mtime else status.st_mtime_ns + 10**9
    os.utime(path, ns=(mtime, mtime))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_the_key_depends_on_every_part_and_on_no_order() -> None:
    same = Recipe("synthesize", 1, {"range": [1, 2], "seed": 0}, {"head": "abc"}, {"device": "cpu"})
    assert same.key == RECIPE.key
    others = [
        Recipe("track", 1, RECIPE.params, RECIPE.inputs, RECIPE.runtime),
        Recipe("synthesize", 2, RECIPE.params, RECIPE.inputs, RECIPE.runtime),
        Recipe("synthesize", 1, {"seed": 1, "range": (1, 2)}, RECIPE.inputs, RECIPE.runtime),
        Recipe("synthesize", 1, RECIPE.params, {"head": "abd"}, RECIPE.runtime),
        Recipe("synthesize", 1, RECIPE.params, RECIPE.inputs, {"device": "cuda"}),
    ]
    assert len({r.key for r in [RECIPE, *others]}) == 6


def test_the_key_is_the_same_for_ever() -> None:
    text = (
        '{"inputs":{"head":"abc"},"params":{"range":[1,2],"seed":0},"runtime":{"device":"cpu"},'
        '"stage":"synthesize","version":1}'
    )
    assert RECIPE.key == hashlib.sha256(text.encode()).hexdigest()


def test_built_once_then_found(store: Store) -> None:
    assert store.get(RECIPE) is None
    made = store.build(RECIPE, fill)
    assert (made.hit, made.key, contents(made.path)) == (False, RECIPE.key, CONTENT)
    assert store.build(RECIPE, must_not_run).hit
    found = store.get(RECIPE)
    assert found is not None and found.path == made.path
    assert store.is_intact(RECIPE.key)
    assert not (store.root / "work" / RECIPE.key).exists()


def test_files_are_read_only_and_the_manifest_names_them(store: Store) -> None:
    made = store.build(RECIPE, fill)
    manifest = read_manifest(made.path)
    assert set(manifest.files) == set(CONTENT)
    assert manifest.recipe["stage"] == "synthesize"
    for name, entry in manifest.files.items():
        status = (made.path / name).stat()
        assert (entry.size, entry.mtime_ns) == (status.st_size, status.st_mtime_ns)
        assert status.st_mode & 0o222 == 0


def test_the_digest_depends_on_names_and_bytes_only(store: Store, tmp_path: Path) -> None:
    def later(folder: Path) -> None:
        fill(folder)
        os.utime(folder / "part.parquet", (1, 1))

    def renamed(folder: Path) -> None:
        fill(folder)
        (folder / "part.parquet").rename(folder / "other.parquet")

    digest = store.digest(store.build(RECIPE, fill))
    other = Store(tmp_path / "other")
    assert other.digest(other.build(RECIPE, later)) == digest
    third = Store(tmp_path / "third")
    assert third.digest(third.build(RECIPE, renamed)) != digest


def test_hidden_files_are_dropped_and_links_refused(store: Store) -> None:
    def hidden(folder: Path) -> None:
        fill(folder)
        (folder / ".part.tmp").write_bytes(b"half")

    assert contents(store.build(RECIPE, hidden).path) == CONTENT

    def link(folder: Path) -> None:
        (folder / "link").symlink_to("/etc/hostname")

    other = Recipe("track", 1, {}, {}, {})
    with pytest.raises(Exception, match="is a link"):
        store.build(other, link)
    assert store.get(other) is None


def test_a_failed_make_leaves_no_object_and_the_next_one_starts_empty(store: Store) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_bytes(b"half")
        (store.work_folder(RECIPE) / "checkpoint").write_bytes(b"step 3")
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError):
        store.build(RECIPE, fails)
    assert store.get(RECIPE) is None
    assert [path.name for path in (store.root / "work" / RECIPE.key).iterdir()] == ["scratch"]

    def resumes(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        assert (store.work_folder(RECIPE) / "checkpoint").read_bytes() == b"step 3"
        fill(folder)

    assert contents(store.build(RECIPE, resumes).path) == CONTENT
    assert not store.work_folder(RECIPE).joinpath("checkpoint").exists()


def test_a_note_is_kept_and_changes_nothing_else(store: Store, tmp_path: Path) -> None:
    note = Note("subjects 0-1", {"torch": "2"})
    noted = store.build(RECIPE, fill, note=note)
    plain = Store(tmp_path / "other").build(RECIPE, fill)
    assert read_manifest(noted.path).note == note
    assert (read_manifest(plain.path).note, plain.key) == (Note(), noted.key)
    assert read_manifest(plain.path).digest == read_manifest(noted.path).digest


def test_a_flipped_bit_with_the_right_size_and_time_is_found_when_asked(store: Store, tmp_path: Path) -> None:
    made = store.build(RECIPE, fill)
    good = tmp_path / "good"
    store.publish(made, good)
    damage(made.path / "part.parquet", keep_mtime=True)
    assert store.get(RECIPE) is not None
    assert store.get(RECIPE, [good], rehash=True) is not None
    assert contents(made.path) == CONTENT
    damage(made.path / "part.parquet", keep_mtime=True)
    assert not store.build(RECIPE, fill, rehash=True).hit
    assert contents(made.path) == CONTENT


def test_stopped_between_sealing_and_renaming_is_finished_without_making(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Store, made: Path, key: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_finish", stop)
        with pytest.raises(KeyboardInterrupt):
            store.build(RECIPE, fill)
    made = store.build(RECIPE, must_not_run)
    assert not made.hit
    assert contents(made.path) == CONTENT


@pytest.mark.parametrize("harm", ["size", "bytes", "missing", "manifest", "no manifest", "contradiction"])
def test_a_damaged_object_is_put_aside_and_made_again(store: Store, harm: str) -> None:
    path = store.build(RECIPE, fill).path
    if harm == "size":
        damage(path / "part.parquet", b"short", keep_mtime=True)
    elif harm == "bytes":
        damage(path / "part.parquet")
    elif harm == "missing":
        (path / "part.parquet").unlink()
    elif harm == "manifest":
        damage(path / MANIFEST, b"{")
    elif harm == "no manifest":
        (path / MANIFEST).unlink()
    else:
        manifest = json.loads((path / MANIFEST).read_text())
        manifest["files"]["part.parquet"]["sha256"] = "0" * 64
        damage(path / MANIFEST, json.dumps(manifest).encode())
    assert not store.is_intact(RECIPE.key)
    assert store.get(RECIPE) is None
    assert [p.name for p in (store.root / "quarantine").iterdir()] == [f"{RECIPE.key}.0"]
    made = store.build(RECIPE, fill)
    assert (made.hit, contents(made.path)) == (False, CONTENT)


def test_a_touched_file_with_the_right_bytes_is_believed_again(store: Store) -> None:
    path = store.build(RECIPE, fill).path
    os.utime(path / "part.parquet", (5, 5))
    assert store.build(RECIPE, must_not_run).hit
    assert (path / "part.parquet").stat().st_mtime_ns == read_manifest(path).files["part.parquet"].mtime_ns


def test_a_stray_file_is_removed_from_an_object(store: Store) -> None:
    path = store.build(RECIPE, fill).path
    (path / "nested" / "stray").write_bytes(b"?")
    assert store.build(RECIPE, must_not_run).hit
    assert contents(path) == CONTENT


@pytest.mark.parametrize("harm", ["bytes", "missing"])
def test_damage_is_healed_from_another_copy(store: Store, tmp_path: Path, harm: str) -> None:
    made = store.build(RECIPE, fill)
    workspace, cache = tmp_path / "workspace", tmp_path / "cache"
    store.publish(made, workspace)
    cache.mkdir()
    (workspace / "part.parquet").rename(cache / "8a93fe")
    (cache / "other").write_bytes(b"y" * len(CONTENT["part.parquet"]))
    if harm == "bytes":
        damage(made.path / "part.parquet")
    else:
        (made.path / "part.parquet").unlink()
    found = store.build(RECIPE, must_not_run, candidates=[tmp_path / "nowhere", workspace, cache])
    assert found.hit
    assert contents(made.path) == CONTENT
    assert (made.path / "part.parquet").stat().st_ino != (cache / "8a93fe").stat().st_ino
    assert store.verify() == []


def test_publishing_brings_a_folder_to_exactly_the_object(store: Store, tmp_path: Path) -> None:
    made = store.build(RECIPE, fill)
    out = tmp_path / "data"
    assert store.publish(made, out) == 2
    assert contents(out) == CONTENT
    assert store.publish(made, out) == 0
    (out / "part.parquet").write_bytes(b"x" * len(CONTENT["part.parquet"]))
    (out / "stray").write_bytes(b"?")
    (out / "empty" / "folder").mkdir(parents=True)
    (out / ".half.tmp").write_bytes(b"?")
    assert store.publish(made, out) == 1
    assert contents(out) == CONTENT
    assert sorted(p.name for p in out.iterdir()) == ["nested", "part.parquet"]
    assert store.is_intact(RECIPE.key)


def test_published_files_share_nothing_with_the_store(store: Store, tmp_path: Path) -> None:
    made = store.build(RECIPE, fill)
    out = tmp_path / "data"
    store.publish(made, out)
    (out / "part.parquet").write_bytes(b"changed in place")
    assert contents(made.path) == CONTENT
    (out / "part.parquet").unlink()
    os.link(made.path / "part.parquet", out / "part.parquet")
    assert store.publish(made, out) == 1
    assert (out / "part.parquet").stat().st_nlink == 1


def test_links_in_the_destination_are_replaced_and_never_followed(store: Store, tmp_path: Path) -> None:
    made = store.build(RECIPE, fill)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "part.parquet").write_bytes(b"precious")
    out = tmp_path / "data"
    out.mkdir()
    (out / "part.parquet").symlink_to(elsewhere / "part.parquet")
    (out / "nested").symlink_to(elsewhere)
    store.publish(made, out)
    assert contents(out) == CONTENT
    assert contents(elsewhere) == {"part.parquet": b"precious"}
    whole = tmp_path / "link"
    whole.symlink_to(elsewhere)
    store.publish(made, whole)
    assert contents(elsewhere) == {"part.parquet": b"precious"}


def test_a_file_or_folder_in_the_wrong_place_gives_way(store: Store, tmp_path: Path) -> None:
    made = store.build(RECIPE, fill)
    out = tmp_path / "data"
    (out / "part.parquet").mkdir(parents=True)
    (out / "part.parquet" / "inside").write_bytes(b"?")
    (out / "nested").write_bytes(b"a file where a folder belongs")
    store.publish(made, out)
    assert contents(out) == CONTENT


def test_damage_that_hides_from_stat_is_found_when_publishing(store: Store, tmp_path: Path) -> None:
    made = store.build(RECIPE, fill)
    damage(made.path / "part.parquet", keep_mtime=True)
    out = tmp_path / "data"
    with pytest.raises(DamagedObjectError):
        store.publish(made, out)
    assert not (out / "part.parquet").exists()
    assert store.get(RECIPE) is None
    again = store.build_and_publish(RECIPE, fill, out)
    damage(again.path / "part.parquet", keep_mtime=True)
    store.build_and_publish(RECIPE, fill, tmp_path / "second")
    assert contents(tmp_path / "second") == CONTENT


def test_without_reflinks_files_are_copied(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no reflinks here")

    monkeypatch.setattr(publish.fcntl, "ioctl", refuse)
    store.publish(store.build(RECIPE, fill), tmp_path / "data")
    assert contents(tmp_path / "data") == CONTENT


def test_blobs_are_found_by_their_hash_until_damaged(store: Store) -> None:
    name = store.put_blob(b"a portrait")
    assert store.blob(name).read_bytes() == b"a portrait"
    assert not store.blob("0" * 64).exists()
    damage(store.blob(name))
    assert not store.blob(name).exists()
    assert store.put_blob(b"a portrait") == name
    assert store.blob(name).read_bytes() == b"a portrait"


def test_a_file_becomes_the_same_blob_as_its_bytes(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"a film")
    name = store.put_file(path)
    assert store.put_blob(b"a film") == name == store.put_file(path)
    assert store.blob(name).read_bytes() == b"a film" and store.blob(name).stat().st_mode & 0o222 == 0
    damage(store.blob(name))
    assert store.put_file(path) == name
    assert store.blob(name).read_bytes() == b"a film"


def test_verify_finds_and_repair_heals_or_puts_aside(store: Store, tmp_path: Path) -> None:
    second = Recipe("track", 1, {}, {}, {})
    healed, lost = store.build(RECIPE, fill), store.build(second, fill)
    name = store.put_blob(b"a portrait")
    store.publish(healed, tmp_path / "data")
    assert store.verify() == []
    damage(healed.path / "part.parquet", keep_mtime=True)
    (healed.path / "stray").write_bytes(b"?")
    damage(lost.path / MANIFEST, b"no json")
    damage(store.root / "blobs" / name[:2] / name)
    found = store.verify()
    by_path = {d.path: d for d in found}
    assert {d.reason for d in found} == {"other bytes", "does not belong here", "no manifest"}
    assert by_path[healed.path / "part.parquet"].stage == "synthesize"
    assert all(d.outcome == "" for d in found)
    assert len(store.verify()) == 4

    repaired = {d.path: d.outcome for d in store.repair_from(tmp_path / "data")}
    assert repaired[healed.path / "part.parquet"] == "healed"
    assert repaired[healed.path / "stray"] == "removed"
    assert repaired[lost.path] == "quarantined"
    assert store.verify() == []
    assert store.get(RECIPE) is not None
    assert store.get(second) is None


def test_no_space_in_make_or_in_publishing_is_a_store_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="No space left") as raised:
        store.build(RECIPE, full)
    assert "help: free some space" in str(raised.value)
    assert store.get(RECIPE) is None
    made = store.build(RECIPE, fill)
    out = tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(publish, "clone_or_copy", full)
        with pytest.raises(StoreError, match="No space left"):
            store.publish(made, out)
    assert contents(out) == {}
    with monkeypatch.context() as patch:
        patch.setattr(objects, "seal", full)
        with pytest.raises(StoreError):
            store.build(Recipe("track", 1, {}, {}, {}), fill)


def test_a_place_that_can_not_be_written_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="Not a directory"):
        Store(tmp_path / "file" / "store").build(RECIPE, fill)

    def read_only(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "store"))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(StoreError, match="Read-only file system") as raised:
        Store(tmp_path / "store").put_blob(b"x")
    assert "HEADFORGE_HOME" in raised.value.help


def test_files_settled_by_their_maker_are_not_hashed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(folder: Path) -> Made:
        fill(folder)
        made = Made(settle(folder), Note("shard 3"))
        monkeypatch.setattr(manifest, "sha256_file", must_not_run)
        return made

    made = store.build(RECIPE, make, note=Note("another"))
    monkeypatch.undo()
    assert read_manifest(made.path).note == Note("shard 3")
    assert contents(made.path) == CONTENT
    assert store.verify() == []


@pytest.mark.parametrize("harm", ["bytes", "missing", "stray"])
def test_files_that_are_not_what_their_maker_settled_are_refused(store: Store, harm: str) -> None:
    def make(folder: Path) -> Made:
        fill(folder)
        made = Made(settle(folder), Note())
        if harm == "bytes":
            damage(folder / "part.parquet")
        elif harm == "missing":
            (folder / "part.parquet").unlink()
        else:
            (folder / "stray").write_bytes(b"?")
        return made

    with pytest.raises(DataError, match="differs from what the stage wrote"):
        store.build(RECIPE, make)
    assert store.get(RECIPE) is None


def test_errors_of_make_itself_are_not_the_stores(store: Store) -> None:
    def no_input(folder: Path) -> None:
        (folder / "nothing").read_bytes()

    with pytest.raises(FileNotFoundError):
        store.build(RECIPE, no_input)


def _build_slowly(root: Path, made: Path) -> None:
    def make(folder: Path) -> None:
        with made.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        fill(folder)

    Store(root).build(RECIPE, make)


def _hang(root: Path, started: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_bytes(b"half")
        (Store(root).work_folder(RECIPE) / "checkpoint").write_bytes(b"step 3")
        started.touch()
        time.sleep(60)

    Store(root).build(RECIPE, make)


def start(function: Callable[..., None], *args: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    return process


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_processes_build_one_object_once(store: Store, tmp_path: Path) -> None:
    made = tmp_path / "made"
    running = [start(_build_slowly, store.root, made) for _ in range(2)]
    for process in running:
        process.join(120)
        assert process.exitcode == 0
    assert len(made.read_text().split()) == 1
    assert store.is_intact(RECIPE.key)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_after_kill_nine_the_lock_is_free_and_work_goes_on(store: Store, tmp_path: Path) -> None:
    started = tmp_path / "started"
    process = start(_hang, store.root, started)
    while not started.exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(120)

    def resumes(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        assert (store.work_folder(RECIPE) / "checkpoint").read_bytes() == b"step 3"
        fill(folder)

    assert contents(store.build(RECIPE, resumes).path) == CONTENT


def test_every_flipped_bit_of_a_manifest_is_noticed(store: Store) -> None:
    made = store.build(RECIPE, fill, note=Note("subjects 0-23 \u00e9", {"torch": "2.0"}))
    path = made.path / MANIFEST
    data = path.read_bytes()
    assert b"\\u00e9" in data
    path.chmod(0o644)
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(DataError):
                read_manifest(made.path)
    assert [damage.reason for damage in store.verify()] == ["no manifest"]
    path.write_bytes(data)
    assert store.verify() == []


def rewritten(path: Path, change: Callable[[dict], object]) -> None:
    """Change a manifest as somebody would who also mends its digest and has no checksum."""
    content = json.loads((path / MANIFEST).read_text())
    content.pop("checksum", None)
    change(content)
    files = content["files"]
    lines = (f"{name}\0{files[name]['sha256']}\n" for name in sorted(files))
    content["digest"] = hashlib.sha256("".join(lines).encode()).hexdigest()
    damage(path / MANIFEST, json.dumps(content).encode())


def test_an_object_whose_manifest_has_no_checksum_is_found(store: Store) -> None:
    made = store.build(RECIPE, fill)
    rewritten(made.path, lambda content: None)
    assert store.build(RECIPE, must_not_run).hit
    assert store.verify() == []


@pytest.mark.parametrize("name", ["../../../x", "/x", "a/../../x", "./x", "a//x", "..\\x", "C:x", ""])
def test_a_manifest_that_names_a_file_outside_its_folder_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    made = store.build(RECIPE, fill)
    rewritten(made.path, lambda content: content["files"].update({name: content["files"]["part.parquet"]}))
    assert [damage.reason for damage in store.verify()] == ["no manifest"]
    with pytest.raises(DamagedObjectError):
        store.publish(made, tmp_path / "a" / "b" / "c")
    assert not (tmp_path / "x").exists()


def test_a_manifest_with_a_recipe_that_is_not_its_keys_is_noticed(store: Store) -> None:
    made = store.build(RECIPE, fill)
    rewritten(made.path, lambda content: content["recipe"].update(version=2))
    assert [damage.reason for damage in store.verify()] == ["no manifest"]
