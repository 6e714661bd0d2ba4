"""Layers of images, made without an engine: a command runs over the layers below, and what it changed is the next layer.

Each layer is kept in the cache under the digest of all that it was made from, so that what has not changed is not made again.
Needs root, for mounts and `chroot`; everything is mounted in a namespace that ends with the command.
"""

import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_dev.errors import Unmet
from recsys_dev.go_build import Progress

RUN_DEADLINE_S = 1800.0
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_SUITE = "bookworm"
_BASE = "debootstrap minbase 2"
_NOT_KEPT = ("var/log", "var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale")
_RUN_AGAIN = "Run it again; the layers made so far are kept."


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A file or folder of this machine that a command sees at `target`; read-only unless it is a cache."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The folder that keeps them."""

    folder: Path

    def tree(self, key: str) -> Path:
        """Return the folder of what a layer adds."""
        return self.folder / key / "tree"

    def has(self, key: str) -> bool:
        """Return whether a layer is there whole."""
        return (self.folder / key / "done").exists()

    def base(self, progress: Progress) -> str:
        """Return the key of Debian's smallest root folder, fetched with debootstrap when it is not there."""
        key = digest_of(_BASE, _SUITE)
        if self.has(key):
            return key
        if shutil.which("debootstrap") is None:
            raise Unmet("the program `debootstrap`", "not found on PATH", "apt-get install debootstrap, or start a container engine.")
        progress("Debian's base: fetching it (about 30 s)")
        tree = self._fresh(key)
        argv = ["debootstrap", "--variant=minbase", _SUITE, str(tree)]
        _run(argv, "debootstrap")
        for name in _NOT_KEPT:
            _empty(tree / name)
        for name in ("etc/resolv.conf", "etc/hostname", "etc/hosts", "etc/machine-id"):
            (tree / name).unlink(missing_ok=True)
            (tree / name).touch()
        (tree / "var/cache/ldconfig/aux-cache").unlink(missing_ok=True)
        self._finish(key)
        return key

    def run(  # noqa: PLR0913, PLR0917 - what a RUN or COPY is made of
        self,
        key: str,
        below: Sequence[str],
        script: str,
        environment: Mapping[str, str],
        binds: Sequence[Bind] = (),
        beside: Sequence[str] = (),
    ) -> None:
        """Make the layer `key`: run a shell command as root over the layers `below`, the lowest first.

        It sees the layers `beside` at /mnt/from.
        """
        tree, work = self._fresh(key), self.folder / key / "work"
        merged = self.folder / key / "merged"
        for folder in (work, merged):
            folder.mkdir()
        upper = f"upperdir={tree.relative_to(self.folder)},workdir={work.relative_to(self.folder)}"
        mount = f"lowerdir={self._stacked(below)},{upper},redirect_dir=off,metacopy=off"
        words = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
        at = shlex.quote(str(merged))
        lines = [
            "mount --make-rprivate /",
            f"cd {shlex.quote(str(self.folder))}",
            f"mount -t overlay overlay -o {shlex.quote(mount)} {at}",
            f"mount -t proc proc {at}/proc",
            f"mount --rbind /dev {at}/dev",
            f"mount -t tmpfs tmpfs {at}/run",
            f"mount -t tmpfs tmpfs {at}/mnt",
            *_network(at),
            *(line for bind in binds for line in _bound(bind, at)),
            *([f"mkdir {at}/mnt/from", f"mount -t overlay overlay -o lowerdir={self._stacked(beside)} {at}/mnt/from"] if beside else []),
            f"exec chroot {at} /usr/bin/env -i {words} /bin/sh -euc {shlex.quote(script)}",
        ]
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-euc", "\n".join(lines)]
        _run(argv, script.splitlines()[0][:100])
        for folder in (work, merged):
            shutil.rmtree(folder)
        self._finish(key)

    def archive(self, key: str, mtime: int) -> Path:
        """Return a layer as a tar file that is the same whenever and wherever the same layer is packed."""
        file = self.folder / key / f"layer-{mtime}.tar"
        if not file.exists():
            fresh = file.with_suffix(f".{os.getpid()}")
            pack(self.tree(key), fresh, mtime)
            fresh.replace(file)
        return file

    def keep_only(self, keys: set[str]) -> None:
        """Remove every layer that no image is made of any more."""
        for path in self.folder.iterdir():
            if path.name not in keys:
                shutil.rmtree(path, ignore_errors=True)

    def _stacked(self, keys: Sequence[str]) -> str:
        # Relative, because all of a mount's words together may not be longer than a page of memory.
        return ":".join(str(self.tree(key).relative_to(self.folder)) for key in reversed(keys))

    def _fresh(self, key: str) -> Path:
        if os.geteuid() != 0:
            raise Unmet("building an image without a container engine", "needs root (mount, chroot)", "Start docker, or run as root.")
        shutil.rmtree(self.folder / key, ignore_errors=True)
        tree = self.tree(key)
        tree.mkdir(parents=True)
        return tree

    def _finish(self, key: str) -> None:
        (self.folder / key / "done").touch()


def _network(at: str) -> list[str]:
    """Names, and the authorities that this machine trusts: behind a proxy that signs for itself, those are the ones that hold."""
    lines = [
        f"touch {at}/run/hosts {at}/run/resolv.conf",
        f"cat /etc/resolv.conf > {at}/run/resolv.conf",
        f"cat /etc/hosts > {at}/run/hosts",
    ]
    lines += [f"mount --bind {at}/run/{name} {at}/etc/{name}" for name in ("hosts", "resolv.conf")]
    return [*lines, f"cat {AUTHORITIES} > {at}/run/authorities.crt"] if AUTHORITIES.exists() else lines


def _bound(bind: Bind, at: str) -> list[str]:
    target, source = f"{at}{shlex.quote(bind.target)}", shlex.quote(str(bind.source))
    made = f"mkdir -p {target}" if bind.source.is_dir() else f"mkdir -p $(dirname {target}) && touch {target}"
    return [made, f"mount --bind {'' if bind.writable else '-o ro '}{source} {target}"]


def digest_of(*parts: str) -> str:
    """Return a short digest of words, each apart from the next."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


def digest_of_tree(root: Path) -> str:
    """Return a digest of a file or folder: names, modes and bytes."""
    digest = hashlib.sha256()
    for path in (
        [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    ):
        name = path.relative_to(root).as_posix()
        digest.update(f"{name} {path.stat().st_mode & 0o111:o}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def pack(tree: Path, file: Path, mtime: int) -> None:
    """Pack a folder: sorted, without names of owners, all of one time; what an overlay marks as removed is marked in the image's way."""
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            name = path.relative_to(tree).as_posix()
            status = path.lstat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                parent, _, last = name.rpartition("/")
                info = tarfile.TarInfo(f"{parent}/.wh.{last}" if parent else f".wh.{last}")
            elif stat.S_ISSOCK(status.st_mode):
                continue
            else:
                info = archive.gettarinfo(path, arcname=name)
            info.mtime, info.uname, info.gname, info.pax_headers = mtime, "", "", {}
            if info.isreg() and stat.S_ISREG(status.st_mode):
                with path.open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)
                if info.isdir() and _replaces(path):
                    mark = tarfile.TarInfo(f"{name}/.wh..wh..opq")
                    mark.mtime = mtime
                    archive.addfile(mark)


def _replaces(folder: Path) -> bool:
    """Whether a folder of an overlay hides the one below it, rather than adding to it."""
    return "trusted.overlay.opaque" in os.listxattr(folder, follow_symlinks=False)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _run(argv: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as late:
        raise Unmet(f"`{what}`", f"no end after {RUN_DEADLINE_S:.0f} s", _RUN_AGAIN) from late
    except OSError as error:
        raise Unmet(f"program {argv[0]}", str(error), "Install it, or start a container engine.") from error
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise Unmet(f"`{what}` in the image", f"exit {done.returncode}:\n{last}\n", "Mend it, then run it again.")
