"""The command lines of a control plane: etcd, kube-apiserver, kube-controller-manager; and a scheduler where there is a node."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recsys_dev import pki
from recsys_dev.ports import LOOPBACK
from recsys_dev.processes import Command

SERVICE_RANGE = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIT_POLICY = '{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[{"level":"Metadata"}]}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Loopback ports of one control plane."""

    apiserver: int
    etcd: int
    etcd_peer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a control plane stands, and whether real nodes belong to it."""

    address: str = LOOPBACK
    service_range: str = SERVICE_RANGE
    first_service: str = FIRST_SERVICE
    has_nodes: bool = False


ALONE = Site()
"""On loopback, with no node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """The certificates, keys and kubeconfigs of one control plane."""

    authority: pki.Authority
    server: str
    apiserver: pki.Identity
    admin: pki.Identity
    tokens_key: Path
    tokens_public: Path
    admin_kubeconfig: Path
    controller_kubeconfig: Path

    @property
    def authority_file(self) -> Path:
        """The certificate that clients trust."""
        return self.authority.certificate_file

    @property
    def authority_key(self) -> Path:
        """The key that signs."""
        return self.authority.folder / "ca.key"

    def kubeconfig(self, user: str, *, group: str | None = None) -> Path:
        """Sign a certificate for a user, and write the kubeconfig that speaks as that user; return its path."""
        identity = pki.sign(self.authority, user, organization=group)
        return _kubeconfig(self.authority, self.server, user.rpartition(":")[2], identity)


def _kubeconfig(authority: pki.Authority, server: str, stem: str, identity: pki.Identity) -> Path:
    path = authority.folder / f"{stem}.kubeconfig"
    trusted = pki.base64_of(authority.certificate_file)
    return pki.write_kubeconfig(path, server=server, authority_data=trusted, user=pki.client_user(identity))


def issue(folder: Path, server: str, *, now: datetime, site: Site = ALONE) -> Papers:
    """Make every certificate that a control plane at URL `server` needs, valid from `now` for 90 days."""
    authority = pki.create_authority(folder, "recsys-dev-ca", now=now)
    service_names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    apiserver = pki.sign(authority, "kube-apiserver", hosts=[site.address, site.first_service, "localhost", *service_names])
    admin = pki.sign(authority, "admin", organization="system:masters")
    # Every right, and no ServiceAccount for each of thirty controllers: their tokens would take five seconds of the start.
    controller = pki.sign(authority, "system:kube-controller-manager", organization="system:masters")
    tokens_key, tokens_public = pki.create_signing_key(folder, "service-accounts")
    return Papers(
        authority=authority,
        server=server,
        apiserver=apiserver,
        admin=admin,
        tokens_key=tokens_key,
        tokens_public=tokens_public,
        admin_kubeconfig=_kubeconfig(authority, server, "admin", admin),
        controller_kubeconfig=_kubeconfig(authority, server, "controller-manager", controller),
    )


def etcd(programs: Path, run_dir: Path, ports: Ports) -> Command:
    """Return the command of a single etcd that trades durability for speed: the state dies with the run."""
    client, peer = f"http://{LOOPBACK}:{ports.etcd}", f"http://{LOOPBACK}:{ports.etcd_peer}"
    return Command(
        argv=[
            programs / "etcd",
            "--name=dev",
            f"--data-dir={run_dir / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=dev={peer}",
            # One member elects itself: nothing is gained by the usual second of waiting for others.
            "--heartbeat-interval=20",
            "--election-timeout=200",
            "--quota-backend-bytes=1073741824",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=10m",
            "--log-level=warn",
        ]
    )


def apiserver(  # noqa: PLR0913 - all that it stands on
    programs: Path, run_dir: Path, ports: Ports, papers: Papers, *, audit: bool, site: Site = ALONE
) -> Command:
    """Return the command of an API server with RBAC and ServiceAccount tokens; anonymous requests are refused."""
    argv: list[str | Path] = [
        programs / "kube-apiserver",
        f"--etcd-servers=http://{LOOPBACK}:{ports.etcd}",
        f"--bind-address={site.address}",
        f"--advertise-address={site.address}",
        f"--secure-port={ports.apiserver}",
        f"--cert-dir={run_dir / 'apiserver'}",
        f"--tls-cert-file={papers.apiserver.certificate_file}",
        f"--tls-private-key-file={papers.apiserver.key_file}",
        f"--client-ca-file={papers.authority_file}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={papers.tokens_public}",
        f"--service-account-signing-key-file={papers.tokens_key}",
        f"--service-cluster-ip-range={site.service_range}",
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=false",
        "--profiling=false",
    ]
    if site.has_nodes:
        argv += [
            # Pods reach it as the Service `kubernetes`; logs and exec go from it to the kubelet.
            "--endpoint-reconciler-type=master-count",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={papers.admin.certificate_file}",
            f"--kubelet-client-key={papers.admin.key_file}",
        ]
    else:
        # Nobody's lease has to be waited for: there is one API server, and it starts on an empty store.
        argv.append("--endpoint-reconciler-type=none")
    if audit:
        policy = run_dir / "audit-policy.json"
        policy.write_text(AUDIT_POLICY)
        argv += [
            f"--audit-policy-file={policy}",
            f"--audit-log-path={run_dir / 'log' / 'audit.log'}",
            "--audit-log-maxsize=100",
            "--audit-log-maxbackup=1",
        ]
    return Command(argv=argv)


def controller_manager(programs: Path, papers: Papers, site: Site = ALONE) -> Command:
    """Return the command of the controllers: ServiceAccounts, garbage collection, deployments, namespaces."""
    own = papers.controller_kubeconfig
    return Command(
        argv=[
            programs / "kube-controller-manager",
            f"--kubeconfig={own}",
            f"--authentication-kubeconfig={own}",
            f"--authorization-kubeconfig={own}",
            # It serves only metrics, which nobody reads here; 0 spares a port.
            "--secure-port=0",
            f"--service-account-private-key-file={papers.tokens_key}",
            f"--root-ca-file={papers.authority_file}",
            f"--cluster-signing-cert-file={papers.authority_file}",
            f"--cluster-signing-key-file={papers.authority_key}",
            f"--service-cluster-ip-range={site.service_range}",
            "--use-service-account-credentials=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--leader-elect=false",
            # Where nodes have no kubelet nobody renews their lease; pods must not be evicted for it.
            f"--controllers={'*' if site.has_nodes else '*,-node-lifecycle-controller,-ttl'}",
        ]
    )


def scheduler(programs: Path, papers: Papers) -> Command:
    """Return the command of the scheduler, which gives each pod its node."""
    own = papers.kubeconfig("system:kube-scheduler", group="system:masters")
    argv = [programs / "kube-scheduler", f"--kubeconfig={own}", "--secure-port=0", "--leader-elect=false"]
    return Command(argv=[*argv, f"--authentication-kubeconfig={own}", f"--authorization-kubeconfig={own}"])
