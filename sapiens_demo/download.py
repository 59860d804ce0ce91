"""One file from the Hugging Face Hub into its cache: quick to say no, resumable, checked.

huggingface_hub's own download throws away what has arrived when it is cut off for good, and doesn't compare
the content with its digest. So the bytes are fetched here, into the place where the Hub cache wants them, and
only the bookkeeping around them is left to huggingface_hub.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, get_hf_file_metadata, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,  # of the HTTP library, whichever this version of huggingface_hub uses
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import HfFileMetadata, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers, hf_raise_for_status

from sapiens_demo.catalog import KIND_ENDINGS, CheckpointFile
from sapiens_demo.errors import CheckpointError
from sapiens_demo.progress import Meter, Progress, silent, size_text

_SECONDS_FOR_AN_ANSWER = 2.5
_SECONDS_AN_ANSWER_HOLDS = 60.0
_SECONDS_BEFORE_GOING_ON = 1.0
_FRUITLESS_TRIES = 5
_CHUNK = 1 << 20
_SPARE_DISK = 64 * 10**6
_PASSING_ANSWERS = (408, 429)
_RANGE_NOT_SATISFIABLE = 416
_NOT_GIVEN = (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


class NotOnHubError(CheckpointError):
    """Say that the Hub does not hold a file or does not give it; another file may do."""


def fetch(file: CheckpointFile, *, avoid: tuple[str, ...] = (), progress: Progress = silent) -> Path:
    """Bring a file of the catalogue into the Hub cache, going on where an earlier try was cut off.

    Args:
        file: what to fetch. Where its name is gone, the repository's listing is searched for its kind.
        avoid: parts of names that must not be chosen from the listing.
        progress: told the bytes that have arrived and their share.

    Returns:
        The file in the Hub cache.

    Raises:
        NotOnHubError: the repository or the file is not there, or is not given to this user.
        CheckpointError: no answer from the Hub, too small a disk, or the download broke off or is damaged.
    """
    trouble = hub_trouble()
    if trouble:
        raise CheckpointError(offline_sentence(trouble, file))
    with _in_plain_words(file):
        name, metadata = _find(file, avoid)
        repository = repo_folder_name(repo_id=file.repository, repo_type="model")
        blob = Path(constants.HF_HUB_CACHE, repository, "blobs", metadata.etag)
        lock = Path(constants.HF_HUB_CACHE, ".locks", repository, f"{metadata.etag}.lock")
        for folder in (blob.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.exists():
                _download(file, name, metadata, blob, progress)
        # The bytes lie where the cache keeps them; this adds the cache's own record of them.
        return Path(
            hf_hub_download(
                file.repository,
                name,
                revision=metadata.commit_hash,
                cache_dir=constants.HF_HUB_CACHE,
                endpoint=constants.ENDPOINT,
            )
        )


def choose_name(names: Iterable[str], file: CheckpointFile, avoid: tuple[str, ...]) -> str | None:
    """Choose among file names the one that stands for a file of the catalogue.

    Args:
        names: what a repository or folder holds.
        file: gives the wanted name, else the kind.
        avoid: parts of names that must not be chosen.

    Returns:
        The catalogue's own name, else the one of its kind with the highest score or epoch, else None.
    """
    ending = KIND_ENDINGS.get(file.kind)
    if ending is None:
        return file.name if file.name in names else None
    allowed = [name for name in names if name.endswith(ending) and not any(part in name for part in avoid)]
    if file.name in allowed:
        return file.name
    return max(allowed, key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)], default=None)


def folder_name(file: CheckpointFile) -> str:
    """Name what a user puts into the folder that SAPIENS_CHECKPOINTS names.

    Args:
        file: of the catalogue.

    Returns:
        The file's name, or that of a folder with the files of its repository where they belong together.
    """
    return file.name if file.kind in KIND_ENDINGS else file.repository.rpartition("/")[2]


def hub_trouble() -> str | None:
    """Ask the Hub now whether it answers; takes less than 3 seconds.

    Returns:
        None where it does, else why not.
    """
    return _ask_again().trouble(_SECONDS_FOR_AN_ANSWER + 0.1)


def known_hub_trouble(patience: float) -> str | None:
    """Tell whether the Hub answered lately; an old answer is renewed in the background.

    Args:
        patience: seconds to wait where nothing is known yet; an answer that takes longer counts as good.

    Returns:
        None where the Hub answered or nothing is known yet, else why it cannot be reached.
    """
    question = _last_question
    if question is None or question.age > _SECONDS_AN_ANSWER_HOLDS:
        question = _ask_again()
    return question.trouble(max(patience - question.age, 0.0))


def offline_sentence(trouble: str, file: CheckpointFile) -> str:
    """Say that the Hub cannot be reached and what to do.

    Args:
        trouble: why, as `hub_trouble` says it.
        file: what is wanted.

    Returns:
        Two sentences for people.
    """
    remedy = "Unset HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "Connect this machine to the network"
    put = f"put {folder_name(file)} into the folder that SAPIENS_CHECKPOINTS names"
    choices = f"{remedy}, {put}, or choose Mini" if file.kind in KIND_ENDINGS else f"{remedy}, or {put}"
    return f"The Hugging Face Hub cannot be reached ({trouble}). {choices}."


def disk_trouble(name: str, needed: int) -> str | None:
    """Tell whether the Hub cache's disk has room for a file.

    Args:
        name: the file.
        needed: bytes that are still to come.

    Returns:
        None where it has, else two sentences for people.
    """
    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free >= needed + _SPARE_DISK:
        return None
    return (
        f"{name} needs {size_text(needed + _SPARE_DISK)} on the disk of the Hub cache, "
        f"where {size_text(free)} are free. Make room, or let HF_HOME name a folder on a larger disk."
    )


class _Question:
    """Ask the Hub for a sign of life, in a thread: looking up a host's name may block without limit."""

    def __init__(self, presumed_trouble: str | None) -> None:
        self._asked_at = time.monotonic()
        self._answered = threading.Event()
        self._trouble = presumed_trouble
        threading.Thread(target=self._ask, name="hub-probe", daemon=True).start()

    @property
    def age(self) -> float:
        return time.monotonic() - self._asked_at

    def trouble(self, patience: float) -> str | None:
        if not self._answered.wait(patience) and self.age >= _SECONDS_FOR_AN_ANSWER:
            return f"no answer within {_SECONDS_FOR_AN_ANSWER} seconds"
        return self._trouble

    def _ask(self) -> None:
        self._trouble = _connection_trouble()
        self._answered.set()


_last_question: _Question | None = None


def _ask_again() -> _Question:
    global _last_question
    _last_question = _Question(_last_question.trouble(0.0) if _last_question else None)
    return _last_question


def _connection_trouble() -> str | None:
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:  # through huggingface_hub's own client: the proxies and certificates are then those of the download
        session = get_session()
        answer = session.head(constants.ENDPOINT, timeout=_SECONDS_FOR_AN_ANSWER, follow_redirects=False)
    except Exception as error:  # a probe has no other job than to turn whatever happens into an answer
        return str(error) or type(error).__name__
    return f"it answers {answer.status_code}" if answer.status_code >= 500 else None


def _find(file: CheckpointFile, avoid: tuple[str, ...]) -> tuple[str, HfFileMetadata]:
    try:
        return file.name, _metadata(file, file.name)
    except EntryNotFoundError:
        names = HfApi(endpoint=constants.ENDPOINT).list_repo_files(file.repository, revision=file.revision)
        name = choose_name(names, file, avoid)
        if name is None:
            raise
        return name, _metadata(file, name)


def _metadata(file: CheckpointFile, name: str) -> HfFileMetadata:
    url = hf_hub_url(file.repository, name, revision=file.revision, endpoint=constants.ENDPOINT)
    metadata = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT, endpoint=constants.ENDPOINT)
    stated = metadata.commit_hash and metadata.size and re.fullmatch(r"[\w-][\w.-]*", metadata.etag or "")
    if not stated:
        raise CheckpointError(
            f"The Hub doesn't state version and size of {name}. Check HF_ENDPOINT and the proxy settings."
        )
    if file.sha256 and name == file.name and _digest(metadata.etag) not in (None, file.sha256):
        raise CheckpointError(
            f"{name} on the Hub is not the file this demo knows (its SHA-256 differs). Choose another size."
        )
    return metadata


def _download(
    file: CheckpointFile, name: str, metadata: HfFileMetadata, blob: Path, progress: Progress
) -> None:
    part = blob.with_name(f"{blob.name}.incomplete")
    if _size(part) > metadata.size:
        part.unlink()
    trouble = disk_trouble(name, metadata.size - _size(part))
    if trouble:
        raise CheckpointError(trouble)
    url = hf_hub_url(file.repository, name, revision=metadata.commit_hash, endpoint=constants.ENDPOINT)
    _receive_all(url, part, name, metadata.size, progress)
    known_digest = file.sha256 if name == file.name else None
    _check_content(part, name, metadata.size, known_digest or _digest(metadata.etag), progress)
    part.replace(blob)


def _receive_all(url: str, part: Path, name: str, size: int, progress: Progress) -> None:
    """Fetch what is missing of a file, going on after cuts as long as anything arrives in between."""
    meter = Meter(f"Downloading {name}", size, progress)
    arrived, fruitless = _size(part), 0
    while arrived < size:
        try:
            _receive(url, part, meter)
            if _size(part) < size:
                return  # the server has no more than this; the check of the size says so
        except HTTPError as error:
            if _is_final(error):
                raise
            fruitless = 0 if _size(part) > arrived else fruitless + 1
            so_far = f"{size_text(_size(part))} of {size_text(size)}"
            if fruitless == _FRUITLESS_TRIES:
                raise CheckpointError(
                    f"The download of {name} was cut off at {so_far} ({error}). "
                    "Try again: it goes on from there."
                ) from error
            progress(f"The connection was cut at {so_far}; going on", _size(part) / size)
            time.sleep(_SECONDS_BEFORE_GOING_ON)
        arrived = max(arrived, _size(part))


def _is_final(error: HTTPError) -> bool:
    """Tell an answer that will stay the same from a passing one."""
    if not isinstance(error, HfHubHTTPError):
        return False
    return error.response.status_code < 500 and error.response.status_code not in _PASSING_ANSWERS


def _receive(url: str, part: Path, meter: Meter) -> None:
    done = _size(part)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    request = get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
    with request as answer, part.open("ab") as file:
        if answer.status_code == _RANGE_NOT_SATISFIABLE:
            return
        if answer.is_error:
            answer.read()  # the error's text comes with it
        hf_raise_for_status(answer)
        if answer.status_code == 200:  # from the beginning, whatever was asked for
            file.truncate(0)
            done = 0
        for chunk in answer.iter_bytes():  # as they arrive, so that a cut loses nothing
            file.write(chunk)
            done += len(chunk)
            meter.reach(done)


def _check_content(part: Path, name: str, size: int, digest: str | None, progress: Progress) -> None:
    fault = None
    if _size(part) != size:
        fault = f"{_size(part)} bytes arrived and the Hub states {size}"
    elif digest and _sha256(part, Meter(f"Checking {name}", size, progress)) != digest:
        fault = "its SHA-256 is not the one that is known"
    if fault:
        part.unlink()
        raise CheckpointError(f"{name} arrived damaged and was thrown away: {fault}. Try again later.")


@contextmanager
def _in_plain_words(file: CheckpointFile) -> Iterator[None]:
    try:
        yield
    except GatedRepoError as error:
        raise NotOnHubError(
            f"{file.repository} is only given to users who accepted its terms. "
            "Accept them there and run `hf auth login`."
        ) from error
    except _NOT_GIVEN as error:
        raise NotOnHubError(f"{file.name} is not on the Hub (looked in {file.repository}).") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise CheckpointError(f"The Hub answers {status} for {file.name}. Try again later.") from error
    except HTTPError as error:
        raise CheckpointError(f"The connection to the Hub broke off ({error}). Try again.") from error
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(
            f"{file.name} cannot be kept in the Hub cache ({reason}). "
            "Let HF_HOME name a folder with room for it."
        ) from error


def _digest(etag: str) -> str | None:
    """Take a large file's etag for what it is on the Hub: its SHA-256."""
    return etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None


def _sha256(path: Path, meter: Meter) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            meter.reach(done)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
