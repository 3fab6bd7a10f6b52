"""A version, uploaded to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from backend.dataset.version import LEFT_OUT, PRIVATE, read_manifest
from backend.errors import ExportError


def push(version: Path, repository: str, api: HfApi | None = None) -> str:
    """Upload a version as the newest state of the data set `repository` ("org/name"), tagged with its name; its URL.

    What is not in the version goes from the newest state there, and stays under the older tags. A repository that is
    missing is made, private. The token is the one that the Hub's own tools use: HF_TOKEN, or that of `hf auth login`.
    Raises ExportError when the Hub refuses or cannot be reached; the version on this machine is untouched.
    """
    api = api or HfApi(library_name="pam-studio")
    name = read_manifest(version)["version"]
    try:
        url = api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=version.resolve(),
            commit_message=name,
            ignore_patterns=[f"{PRIVATE}/**", LEFT_OUT],
            delete_patterns=["*"],
        )
        api.create_tag(repository, repo_type="dataset", tag=name, exist_ok=True)
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, httpx.HTTPError, OSError) as error:
        raise ExportError(
            f"{name} cannot be pushed to {repository}: {str(error).strip().splitlines()[0]}; set HF_TOKEN to a token "
            "that may write there"
        ) from error
    return str(url)
