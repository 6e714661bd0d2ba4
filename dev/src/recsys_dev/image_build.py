"""Carries out a Dockerfile without an engine: each stage is a list of layers, each layer is named by all that it was made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recsys_dev.dockerfile import Instruction, Stage, filled, pairs, read, words
from recsys_dev.errors import Unmet
from recsys_dev.go_build import Progress
from recsys_dev.image_archive import Settings
from recsys_dev.layers import AUTHORITIES, Bind, Layers, digest_of, digest_of_tree

DEBIAN = "debian:bookworm-slim"
_TRUST = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A stage as it stands: its layers, the lowest first, and how it is run."""

    layers: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of ARG and ENV."""


@dataclass(slots=True, kw_only=True)
class Build:
    """One Dockerfile being carried out."""

    context: Path
    layers: Layers
    caches: Path
    arguments: Mapping[str, str]
    progress: Progress
    stages: dict[str, Built] = field(default_factory=dict[str, Built])

    def carry_out(self, file: Path) -> Built:
        """Make every stage; return the last one.

        Raises:
            Unmet: an instruction cannot be carried out, with its last words.
        """
        built = Built()
        for stage in read(file):
            built = self._stage(stage)
            self.stages[stage.name] = built
        return built

    @property
    def used(self) -> set[str]:
        """Keys of all layers of all stages."""
        return {key for built in self.stages.values() for key in built.layers}

    def _stage(self, stage: Stage) -> Built:
        if stage.origin in self.stages:
            built = self.stages[stage.origin]
        elif stage.origin == DEBIAN:
            built = Built(layers=(self.layers.base(self.progress),))
        else:
            raise Unmet(f"FROM {stage.origin}", f"neither a stage nor {DEBIAN}", "Begin from one of them.")
        for instruction in stage.instructions:
            built = self._step(built, instruction)
        return built

    def _step(self, built: Built, instruction: Instruction) -> Built:
        settings, value = built.settings, instruction.value
        match instruction.word:
            case "ARG":
                name, _, default = value.partition("=")
                return replace(built, values={**built.values, name: self.arguments.get(name, default)})
            case "ENV":
                added = {name: filled(each, built.values) for name, each in pairs(value).items()}
                return replace(built, values={**built.values, **added}, settings=replace(settings, env={**settings.env, **added}))
            case "LABEL":
                return replace(built, settings=replace(settings, labels={**settings.labels, **pairs(value)}))
            case "WORKDIR":
                return replace(built, settings=replace(settings, workdir=value))
            case "USER":
                return replace(built, settings=replace(settings, user=value))
            case "CMD":
                return replace(built, settings=replace(settings, cmd=tuple(words(value))))
            case "COPY":
                return self._copy(built, instruction)
            case "RUN":
                return self._run(built, instruction)
            case word:
                raise Unmet(f"instruction {word}", "not carried out without an engine", "Write it with others.")

    def _copy(self, built: Built, instruction: Instruction) -> Built:
        *sources, target = filled(instruction.value, built.values).split()
        stage = instruction.flag("from")
        beside = self.stages[stage].layers if stage is not None else ()
        paths = [] if beside else [self.context / source for source in sources]
        key = digest_of(*built.layers, "copy 1", *beside, *map(digest_of_tree, paths), *sources, target)
        if not self.layers.has(key):
            self.progress(instruction.word + f" {' '.join(instruction.flags)} {instruction.value}")
            if beside:
                self.layers.run(key, built.layers, _copying([f"/mnt/from{source}" for source in sources], target), _PLAIN, beside=beside)
            else:
                binds = [Bind(source=path, target=f"/mnt/{path.name}") for path in paths]
                self.layers.run(key, built.layers, _copying([bind.target for bind in binds], target), _PLAIN, binds)
        return replace(built, layers=(*built.layers, key))

    def _run(self, built: Built, instruction: Instruction) -> Built:
        binds: list[Bind] = []
        seen: list[str] = []
        for mount in instruction.mounts():
            if mount["type"] == "cache":
                folder = self.caches / mount["target"].strip("/").replace("/", "-")
                folder.mkdir(parents=True, exist_ok=True)
                binds.append(Bind(source=folder, target=mount["target"], writable=True))
                continue
            source = self.context / filled(mount["source"], built.values)
            seen.append(digest_of_tree(source))
            binds.append(Bind(source=source, target=mount["target"]))
        script = instruction.value
        values = [f"{name}={value}" for name, value in sorted(built.values.items())]
        key = digest_of(*built.layers, "run", script, *seen, *values)
        if not self.layers.has(key):
            self.progress(f"RUN {script[:110]}")
            self.layers.run(key, built.layers, script, {**_PLAIN, **_trust(), **built.values}, binds)
        return replace(built, layers=(*built.layers, key))


_PLAIN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}


def _trust() -> dict[str, str]:
    return dict.fromkeys(_TRUST, "/run/authorities.crt") if AUTHORITIES.exists() else {}


def _copying(sources: list[str], target: str) -> str:
    """The shell's words for COPY: of a folder its content, of a file the file; all of it root's."""
    each = "if [ -d $source ]; then cp -a --no-preserve=ownership $source/. $target; else cp --no-preserve=ownership $source $target; fi"
    return f"target={target}; mkdir -p $target; for source in {' '.join(sources)}; do {each}; done"
