"""One version of a data set, written: what did not change is linked, what did is written anew."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from backend import masks
from backend.dataset import formats, records, region
from backend.dataset.records import Shard, items, shards, to_line
from backend.dataset.region import DatasetFacts, DatasetImage, ImageRegions
from backend.dataset.state import State
from backend.dataset.store import NewFiles, VersionStore
from backend.dataset.texts import CategoryNames
from backend.errors import ExportError

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
LEFT_OUT = "left_out.jsonl"
"""What was left out, and why. Like PRIVATE it is not published, since a reason may name an image's address."""

PRIVATE = ".shards"
"""Where the files lie that serve the next version, and are no part of what is published: the formats' fragments, and
of each shard its listing and its records."""


_LINES_AT_ONCE = 1000


@dataclass(frozen=True)
class Written:
    """A version that is there now. shards_written: of `shards`; the others were linked."""

    folder: Path
    manifest: Mapping[str, Any]
    shards: int
    shards_written: int


def read_manifest(version: Path) -> dict[str, Any]:
    """The manifest of a version."""
    return json.loads((version / MANIFEST).read_text(encoding="utf-8"))


def write_version(
    store: VersionStore,
    state: State,
    chosen: Collection[str],
    facts: DatasetFacts,
    names: CategoryNames,
    progress: Callable[[int], None],
) -> Written | None:
    """Write and publish a version of what `state` holds; None where the newest one is the same already.

    chosen: names of formats.
    """
    salt = json.dumps([_writers(), sorted(chosen)])
    digests = hashlib.sha256(json.dumps(asdict(facts), sort_keys=True).encode())
    for shard in shards(state, salt):
        digests.update(f"{shard.name} {shard.digest}\n".encode())
    for line in _left_out_lines(state):
        digests.update(line.encode())
    parent = store.newest()
    if parent is not None and read_manifest(parent)["content"] == digests.hexdigest():
        return None
    with store.building() as folder:
        build = _Build(folder, parent, store.pool, state, chosen, names)
        for done, shard in enumerate(shards(state, salt), start=1):
            build.add(shard)
            progress(done)
        build.finish(facts)
        manifest = build.manifest(facts, digests.hexdigest(), store.next_name())
        build.write(MANIFEST, [json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"])
        version = store.publish(build.made)
    return Written(version, manifest, build.shards, build.shards_written)


class _Build:
    """A version on its way, in `folder`. made: the files in it that the parent has not."""

    def __init__(
        self,
        folder: Path,
        parent: Path | None,
        pool: Path,
        state: State,
        chosen: Collection[str],
        names: CategoryNames,
    ):
        self.made = NewFiles(folder)
        self.shards = self.shards_written = 0
        self._folder, self._parent, self._pool = folder, parent, pool
        self._alike = parent if parent is not None and read_manifest(parent).get("writers") == _writers() else None
        self._state, self._formats, self._names = state, chosen, names
        self._modules = formats.selected(chosen)
        self._shard_names: list[str] = []
        self._whole: dict[str, str] = {}
        self._models: Counter[str] = Counter()
        self._folders: set[str] = set()

    def add(self, shard: Shard) -> None:
        """Link a shard from the parent where it is the same there, else write it."""
        self.shards += 1
        self._shard_names.append(shard.name)
        listing = self._linked(shard)
        if listing is None:
            listing = self._written(shard)
            self.shards_written += 1
        self._models.update(listing["model_versions"])

    def finish(self, facts: DatasetFacts) -> None:
        """Write the files that span all shards, and the sums of all files."""
        known = _sums_of(self._parent) if self._parent else {}
        for module in self._modules:
            for path in module.finish(self._folder, self._shard_names, facts, self._parent):
                self._whole[path] = known[path] if path in known and self._is_linked(path) else self._made(path)
        self._whole[LEFT_OUT] = self.write(LEFT_OUT, _left_out_lines(self._state))
        self._whole[CHECKSUMS] = self.write(CHECKSUMS, self._sums())

    def manifest(self, facts: DatasetFacts, content: str, version: str) -> dict[str, Any]:
        """What the version says of itself. Only `version`, `parent` and `created` tell how it came about."""
        return {
            "version": version,
            "parent": self._parent.name if self._parent else None,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "content": content,
            "writers": _writers(),
            "checksums": self._whole[CHECKSUMS],
            "projects": {str(id): title for id, title in facts.projects.items()},
            "settings": dict(facts.settings),
            "formats": sorted(self._formats),
            "counts": self._state.counts() | {"shards": self.shards},
            "model_versions": dict(sorted(self._models.items())),
            "left_out": dict(facts.left_out),
        }

    def write(self, path: str, lines: Iterator[str] | Sequence[str]) -> str:
        """Write a new file; its SHA-256."""
        digest = hashlib.sha256()
        self._make_folder(path)
        with open(self._folder / path, "xb") as file:
            remaining = iter(lines)
            while part := list(islice(remaining, _LINES_AT_ONCE)):
                data = "".join(part).encode("utf-8")
                digest.update(data)
                file.write(data)
        self.made.add(path)
        return digest.hexdigest()

    def _made(self, path: str) -> str:
        """Note a file that a format has written; its SHA-256."""
        self.made.add(path)
        return _sha256(self._folder / path)

    def _is_linked(self, path: str) -> bool:
        """Whether a format linked a file from the parent, so that its sum is known, and it is on the disk."""
        return os.stat(f"{self._folder}/{path}").st_nlink > 1

    def _linked(self, shard: Shard) -> dict[str, Any] | None:
        """The listing of a shard that was linked; None where the parent has another one, or not all of it."""
        if self._parent is None:
            return None
        # Strings, not paths, as this is done for every file of every version.
        source, target = f"{self._parent}/", f"{self._folder}/"
        linked: list[str] = []
        try:
            with open(source + _listing_path(shard.name), encoding="utf-8") as file:
                listing = json.load(file)
            if listing["digest"] != shard.digest:
                return None
            for path in [*listing["files"], _listing_path(shard.name)]:
                self._make_folder(path)
                os.link(source + path, target + path)
                linked.append(target + path)
        except (FileNotFoundError, ValueError, KeyError):
            # Somebody took a file out of a version. What is linked already must not be written through.
            for one in linked:
                os.unlink(one)
            return None
        return listing

    def _written(self, shard: Shard) -> dict[str, Any]:
        found = items(self._state, shard, self._names)
        files: dict[str, str] = {}
        for image, _ in found:
            self._link_image(image)
            files[image.path] = image.sha256
        for module in self._modules:
            for path in module.write_shard(self._folder, shard.name, found, self._image_bytes, self._alike):
                files[path] = self._made(path)
        path = _records_path(shard.name)
        files[path] = self.write(path, [to_line(item) + "\n" for item in found])
        listing = {
            "digest": shard.digest,
            "files": dict(sorted(files.items())),
            "model_versions": _model_versions(found),
        }
        self.write(_listing_path(shard.name), [json.dumps(listing, sort_keys=True) + "\n"])
        return listing

    def _link_image(self, image: DatasetImage) -> None:
        kept = self._pool / Path(image.path).name
        if not kept.exists() or _sha256(kept) != image.sha256:
            raise ExportError(f"{kept} is gone or damaged: remove {self._pool.parent}, it is made anew")
        self._make_folder(image.path)
        os.link(kept, self._folder / image.path)
        self.made.add(image.path)

    def _image_bytes(self, image: DatasetImage) -> bytes:
        return (self._folder / image.path).read_bytes()

    def _sums(self) -> Iterator[str]:
        """Lines that `sha256sum -c` understands: what is published, shard by shard, then what spans all shards."""
        for name in self._shard_names:
            listing = json.loads((self._folder / _listing_path(name)).read_bytes())
            yield from (f"{digest}  {path}\n" for path, digest in listing["files"].items() if _is_published(path))
        yield from (f"{digest}  {path}\n" for path, digest in sorted(self._whole.items()) if _is_published(path))

    def _make_folder(self, path: str) -> None:
        parent = os.path.dirname(path)
        if parent not in self._folders:
            (self._folder / parent).mkdir(parents=True, exist_ok=True)
            self._folders.add(parent)


@functools.cache
def _writers() -> str:
    """Changes with the code that writes a shard: what older code has written is not linked, but written anew."""
    others = (__file__, records.__file__, region.__file__, masks.__file__)
    files = [*Path(formats.__path__[0]).glob("*.py"), *map(Path, others)]
    return hashlib.sha256("".join(_sha256(file) for file in sorted(files)).encode()).hexdigest()


def shard_digests(version: Path) -> Iterator[tuple[str, str]]:
    """The shards of a version, in the order of their names, each with what changes whenever anything in it does."""
    for path in sorted((version / PRIVATE / "listing").glob("*.json")):
        yield path.stem, json.loads(path.read_text(encoding="utf-8"))["digest"]


def read_records(version: Path, shard: str) -> Iterator[str]:
    """The neutral records of a shard, see `backend.dataset.records.to_line`."""
    with open(version / _records_path(shard), encoding="utf-8", newline="\n") as file:
        yield from file


def _records_path(shard: str) -> str:
    return f"{PRIVATE}/records/{shard}.jsonl"


def _listing_path(shard: str) -> str:
    return f"{PRIVATE}/listing/{shard}.json"


def _is_published(path: str) -> bool:
    return path != LEFT_OUT and not path.startswith(f"{PRIVATE}/")


def _model_versions(found: Sequence[ImageRegions]) -> dict[str, int]:
    versions = (one.model_version for _, regions in found for one in regions)
    return dict(sorted(Counter(version for version in versions if version is not None).items()))


def _sums_of(version: Path) -> dict[str, str]:
    """Path to SHA-256 of what is published of a version."""
    try:
        with open(version / CHECKSUMS, encoding="utf-8", newline="\n") as file:
            return {line[66:-1]: line[:64] for line in file}
    except FileNotFoundError:
        return {}


def _left_out_lines(state: State) -> Iterator[str]:
    for one in state.left_out():
        yield json.dumps({"kind": one.kind} | asdict(one.what), ensure_ascii=False) + "\n"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
