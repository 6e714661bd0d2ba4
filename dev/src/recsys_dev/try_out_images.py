"""Images of what the chart's `tryOut` names, for nodes that pull nothing: made of what the project's own brokers and store are made of."""

from pathlib import Path

import yaml

from recsys_dev import image_archive
from recsys_dev.cache import cache_dir, ensure
from recsys_dev.go_build import BUILD_DEADLINE_S, Progress
from recsys_dev.image_build import Build
from recsys_dev.images import REPOSITORY, packed
from recsys_dev.kafka_jars import KAFKA_VERSION
from recsys_dev.layers import Layers
from recsys_dev.line import CHART
from recsys_dev.locks import locked
from recsys_dev.maven import FETCH_DEADLINE_S, copy_jars
from recsys_dev.objects import GATEWAY

POM = REPOSITORY / "dev" / "maven" / "kafka-distribution" / "pom.xml"
DOCKERFILE = REPOSITORY / "dev" / "images" / "kafka" / "Dockerfile"


def archives(progress: Progress, folder: Path) -> list[Path]:
    """Make the images of the chart's default values, under the names that they have there; return their archives."""
    asked = yaml.safe_load((CHART / "values.yaml").read_text())["tryOut"]
    store = folder / "objects.tar"
    program = ensure((GATEWAY,), progress) / GATEWAY.name
    image_archive.of_program(store, asked["objects"]["image"], program, place="usr/local/bin/versitygw")
    return [_kafka(asked["kafka"]["image"], progress), store]


def _kafka(tag: str, progress: Progress) -> Path:
    """A broker's image (1 min the first time, 400 MB)."""
    home, jars = cache_dir() / "images", _distribution(progress)
    with locked(home / "build.lock", "building images", progress, deadline_s=BUILD_DEADLINE_S):
        layers = Layers(folder=home / "layers")
        layers.folder.mkdir(parents=True, exist_ok=True)
        build = Build(
            context=jars.parent,
            layers=layers,
            caches=home / "caches",
            arguments={"JARS": jars.name},
            progress=lambda words: progress(f"{tag}: {words}"),
        )
        built = build.carry_out(DOCKERFILE)
        (home / "try-out-kafka.used").write_text("\n".join(sorted(build.used)))
        return packed(home / "try-out-kafka.tar", tag, built, layers)


def _distribution(progress: Progress) -> Path:
    """The folder of the jars of Kafka's distribution, its command-line tools among them (10 s the first time)."""
    folder = cache_dir() / f"kafka-distribution-{KAFKA_VERSION}"
    with locked(cache_dir() / "kafka-distribution.lock", "fetching Kafka", progress, deadline_s=FETCH_DEADLINE_S):
        if not folder.is_dir():
            progress(f"Fetching the jars of Kafka {KAFKA_VERSION} and its tools: about 10 s.")
            copy_jars(POM, folder, what=f"Kafka {KAFKA_VERSION} and its tools", sign=f"kafka-tools-{KAFKA_VERSION}.jar")
    return folder
