"""A real Kubernetes API on this machine: start it, speak to it, stop it.

There is no kubelet (see `recsys_dev.node` for one): objects, admission, RBAC, garbage collection and watches are real, pods stay `Pending`.
"""

import contextlib
import json
import os
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from recsys_dev import control_plane, pki, processes
from recsys_dev.cache import ensure_kubernetes
from recsys_dev.control_plane import ALONE, Papers, Ports, Site
from recsys_dev.errors import Unmet
from recsys_dev.go_build import Progress
from recsys_dev.ports import free_ports, require_free
from recsys_dev.processes import Child

READY_DEADLINE_S = 300.0
COMMAND_DEADLINE_S = 300.0
TOKEN_SECONDS = 24 * 3600
ATTEMPTS = 3


class CommandFailedError(Exception):
    """A kubectl or helm call that the server or the client refused; `stderr` holds its words."""

    def __init__(self, argv: Sequence[str], code: int, stderr: str) -> None:
        """Keep the words of the call and of the refusal."""
        super().__init__(f"`{' '.join(argv)}` exited {code}: {stderr.strip()}")
        self.argv = tuple(argv)
        self.code = code
        self.stderr = stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster to speak to; `children` are the processes that we started for it (none for an existing cluster)."""

    run_dir: Path
    programs: Path
    kubeconfig: Path
    children: tuple[Child, ...] = ()
    papers: Papers | None = None
    """Keys and certificates of a control plane that we started."""

    @property
    def audit_log(self) -> Path:
        """Path of the audit log: one JSON event a line; exists when started with `audit=True`."""
        return self.run_dir / "log" / "audit.log"

    def audited(self) -> list[dict[str, Any]]:
        """The events of the audit log that are written whole; that of a request comes a moment after its answer."""
        whole = self.audit_log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which kubectl, helm and clients speak to this cluster and write nothing outside `run_dir`."""
        helm = self.run_dir / "helm"
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.run_dir / "kube-cache"),
            "HELM_CACHE_HOME": str(helm / "cache"),
            "HELM_CONFIG_HOME": str(helm / "config"),
            "HELM_DATA_HOME": str(helm / "data"),
            # kubectl and helm come from `programs`, whatever else PATH holds.
            "PATH": f"{self.programs}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def kubectl(self, *args: str, input: str | None = None, kubeconfig: Path | None = None) -> str:  # noqa: A002
        """Run kubectl (as the admin, or with another kubeconfig); return its stdout.

        Raises:
            CommandFailedError: with kubectl's words when it exits other than 0.
        """
        return self._run("kubectl", *args, given=input, kubeconfig=kubeconfig)

    def helm(self, *args: str) -> str:
        """Run helm as the admin; return its stdout.

        Raises:
            CommandFailedError: with helm's words when it exits other than 0.
        """
        return self._run("helm", *args)

    def _run(self, program: str, *args: str, given: str | None = None, kubeconfig: Path | None = None) -> str:
        environment = self.environment | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})
        argv = [str(self.programs / program), *args]
        try:
            done = subprocess.run(
                argv,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                text=True,
                env=environment,
                timeout=COMMAND_DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise CommandFailedError([program, *args], 124, f"no end after {late.timeout:.0f} s") from late
        except OSError as error:
            raise Unmet(f"program {argv[0]}", str(error), "Run `make tools`.") from error
        if done.returncode != 0:
            raise CommandFailedError([program, *args], done.returncode, done.stderr)
        return done.stdout

    def service_account_kubeconfig(self, namespace: str, name: str, *, seconds: int = TOKEN_SECONDS) -> Path:
        """Return a kubeconfig that has only the rights of a ServiceAccount, by a token that expires after `seconds`.

        Raises:
            CommandFailedError: when the ServiceAccount does not exist.
        """
        token = self.kubectl("create", "token", name, "--namespace", namespace, f"--duration={seconds}s").strip()
        server = self.kubectl("config", "view", "--minify", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
        authority = self.kubectl(
            "config", "view", "--minify", "--raw", "--flatten", "-o", "jsonpath={.clusters[0].cluster.certificate-authority-data}"
        )
        folder = self.run_dir / "service-accounts"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{namespace}.{name}.kubeconfig"
        return pki.write_kubeconfig(path, server=server, authority_data=authority, user={"token": token}, namespace=namespace)

    def stop(self) -> None:
        """Stop what we started, the last first; an existing cluster is left alone. Stopping twice changes nothing."""
        if self.children:
            processes.stop_all(self.run_dir)


def start(  # noqa: PLR0913 - each is named where it is called
    run_dir: Path,
    ports: Ports | None = None,
    *,
    audit: bool = False,
    use_existing: bool = False,
    site: Site = ALONE,
    progress: Progress = lambda _line: None,
) -> Cluster:
    """Start etcd, kube-apiserver and kube-controller-manager in `run_dir`; return when ServiceAccounts work (3 to 8 s).

    Args:
        run_dir: folder of state, logs and keys; must not hold an older cluster's etcd.
        ports: loopback ports to use; free ones are picked when not given.
        audit: write who asked what to `Cluster.audit_log`.
        use_existing: with `KUBECONFIG` set, start nothing and use that cluster.
        site: where it listens; pods of a real node could not reach loopback.
        progress: receives lines for a person, for instance while programs are built.

    Raises:
        Unmet: a port in use, a missing program, or a process that ended, with its last words.
    """
    run_dir = run_dir.resolve()
    programs = ensure_kubernetes(progress)
    existing = os.environ.get("KUBECONFIG")
    if use_existing and existing:
        return _existing(run_dir, programs, Path(existing.split(os.pathsep)[0]).expanduser())
    if (run_dir / "etcd").exists():
        raise Unmet(f"folder {run_dir}", "holds the state of an earlier cluster", "`make down` removes it.")
    run_dir.mkdir(parents=True, exist_ok=True)
    if ports is not None:
        return _start(run_dir, programs, ports, audit=audit, site=site)
    for attempt in range(1, ATTEMPTS + 1):
        picked = Ports(**dict(zip(("apiserver", "etcd", "etcd_peer"), free_ports(3), strict=True)))
        try:
            return _start(run_dir, programs, picked, audit=audit, site=site)
        except Unmet as unmet:
            # Between picking and listening another program may take the port; then other ports are as good.
            if attempt == ATTEMPTS or "already in use" not in str(unmet):
                raise
    raise AssertionError


def _existing(run_dir: Path, programs: Path, kubeconfig: Path) -> Cluster:
    if not kubeconfig.is_file():
        raise Unmet("KUBECONFIG", f"{kubeconfig} is not a file", "Point it at your cluster's kubeconfig, or unset it.")
    run_dir.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(run_dir=run_dir, programs=programs, kubeconfig=kubeconfig.resolve())
    try:
        cluster.kubectl("get", "--raw", "/readyz", "--request-timeout=10s")
    except CommandFailedError as failed:
        raise Unmet("KUBECONFIG", f"{kubeconfig}: {failed.stderr.strip()}", "Start that cluster, or unset it.") from failed
    return cluster


def _start(run_dir: Path, programs: Path, ports: Ports, *, audit: bool, site: Site) -> Cluster:
    for port, purpose in ((ports.etcd, "etcd"), (ports.etcd_peer, "etcd peers")):
        require_free(port, purpose)
    require_free(ports.apiserver, "kube-apiserver", site.address)
    papers = control_plane.issue(run_dir / "pki", f"https://{site.address}:{ports.apiserver}", now=datetime.now(UTC), site=site)
    children: list[Child] = []
    try:
        children.append(processes.start(run_dir, "etcd", control_plane.etcd(programs, run_dir, ports)))
        # The API server waits for etcd by itself; the controllers would give up after 10 s.
        server = control_plane.apiserver(programs, run_dir, ports, papers, audit=audit, site=site)
        children.append(processes.start(run_dir, "kube-apiserver", server))
        with _client(papers) as client:
            _wait(client, "/readyz", children)
            has_controllers = os.access(programs / "kube-controller-manager", os.X_OK)
            if has_controllers:
                controllers = control_plane.controller_manager(programs, papers, site)
                children.append(processes.start(run_dir, "kube-controller-manager", controllers))
                _wait(client, "/api/v1/namespaces/default/serviceaccounts/default", children)
    except BaseException:
        processes.stop_all(run_dir, deadline_s=5)
        raise
    return Cluster(run_dir=run_dir, programs=programs, kubeconfig=papers.admin_kubeconfig, children=tuple(children), papers=papers)


def _client(papers: Papers) -> httpx.Client:
    context = ssl.create_default_context(cafile=papers.authority_file)
    context.load_cert_chain(papers.admin.certificate_file, papers.admin.key_file)
    return httpx.Client(base_url=papers.server, verify=context, trust_env=False, timeout=30)


def _wait(client: httpx.Client, path: str, children: Sequence[Child]) -> None:
    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return client.get(path).is_success
        return False

    processes.wait_until(answers, what=f"Kubernetes ({path})", deadline_s=READY_DEADLINE_S, children=children)
