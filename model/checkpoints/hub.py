"""Checkpoints from the Hugging Face Hub: only the files that are needed, kept in its cache."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import HfApi, errors, snapshot_download

from model.checkpoints import files
from model.errors import CheckpointError

SOURCE = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(/(?P<folder>\w[\w.-]*))?")
SAM_REPOSITORY = "facebook/sam2.1-hiera-{size}"
"""Where SAM 2.1's makers publish it; sizes are written with dashes there."""


def fetch(source: str) -> Path:
    """The folder in the cache with the checkpoint of "organisation/name" or "organisation/name/folder".

    What the cache has is not fetched again, and without a network it alone answers. Raises CheckpointError.
    """
    match = SOURCE.fullmatch(source)
    if match is None:
        raise CheckpointError(f"{source} is no checkpoint: there is no such folder, and no Hugging Face id (org/name)")
    repository, folder = match["repository"], match["folder"]
    names = _listing(repository)
    if names is None:
        return _cached(repository) / (folder or "")
    if folder:
        names = [name for name in names if name.startswith(f"{folder}/") or files.SAM.fullmatch(name)]
    place = files.place(names, source)
    return _download(repository, files.needed(names, place)) / place


def fetch_sam(file: str) -> Path:
    """SAM 2.1's own checkpoint of that published name, such as "sam2.1_hiera_large.pt". Raises CheckpointError."""
    size = file.removeprefix("sam2.1_hiera_").removesuffix(".pt").replace("_", "-")
    repository = SAM_REPOSITORY.format(size=size)
    root = _cached(repository) if _listing(repository) is None else _download(repository, [file])
    if not (root / file).is_file():
        raise CheckpointError(f"{repository} has no {file}: put one beside the checkpoint")
    return root / file


def _listing(repository: str) -> list[str] | None:
    """The repository's files, or None where the hub cannot be asked."""
    hub = HfApi()
    try:
        return hub.list_repo_files(repository)
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{repository} is gated: accept its terms at {hub.endpoint}/{repository}, and set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{repository} is neither a folder here nor a repository on {hub.endpoint}: check the spelling; if it is "
            "private, set HF_TOKEN"
        ) from error
    except errors.HFValidationError as error:
        raise CheckpointError(f"{repository} is no Hugging Face id: {error}") from error
    except (errors.HTTPError, OSError):
        return None


def _cached(repository: str) -> Path:
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except errors.IncompleteSnapshotError as error:
        # Files that nobody asked for are missing too; what is missed among the others is told by name when it is read.
        return Path(error.snapshot_path)
    except (errors.LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{HfApi().endpoint} cannot be reached, and {repository} is not in the cache: connect, or name a folder"
        ) from error


def _download(repository: str, names: list[str]) -> Path:
    try:
        return Path(snapshot_download(repository, allow_patterns=names))
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{repository} is gated: accept its terms at {HfApi().endpoint}/{repository}, and set HF_TOKEN"
        ) from error
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the download of {repository} broke off; try again, complete files are kept: {error}"
        ) from error
