"""The audit topic, for who did not see it happen: what was decided, whether the record is whole, and whether it decides the same again."""

from functools import partial

from kubectl_recsys.table import table
from kubectl_recsys.views import find_model
from recsys_operator.plan.audit import chain
from recsys_operator.plan.audit.chain import Audit
from recsys_operator.state.observed import ModelState
from recsys_operator.world.audit_topic import heard, read
from recsys_operator.world.connection import read_connection
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Kube


async def verify(kube: Kube, namespace: str, name: str) -> int:
    """Print everything that is wrong with a model's records; 1 when anything is."""
    audit = await _audit(kube, await find_model(kube, namespace, name))
    print("\n".join(told(audit)))
    return int(bool(audit.faults))


async def show(kube: Kube, namespace: str, name: str) -> int:
    """Print a model's records, oldest first; 1 when anything is wrong with one."""
    audit = await _audit(kube, await find_model(kube, namespace, name))
    wrong = {link.record.id for link in audit.links if link.record is not None and link.faults}
    rows = [
        (
            each.sequence,
            f"{each.time:%Y-%m-%dT%H:%M:%SZ}",
            each.rollout,
            each.verdict,
            each.by,
            "no" if each.id in wrong else "yes",
            each.action,
        )
        for each in audit.records
    ]
    print(table(("RECORD", "TIME", "ROLLOUT", "VERDICT", "BY", "HOLDS", "ACTION"), rows))
    return int(bool(audit.faults))


def told(audit: Audit) -> list[str]:
    """What a check says, line by line."""
    records, repeats = audit.records, sum(link.repeat for link in audit.links)
    again = sum(each.kept is not None for each in records)
    bare = len(records) - again
    lines = [f"{len(records)} records" + (f", {repeats} of them written twice (harmless)" if repeats else "")]
    lines.append(f"{again} verdicts decided again from their inputs" + (f"; {bare} records have none (given up)" if bare else ""))
    lines += [f"WRONG: {fault}" for fault in audit.faults] or ["the chain is whole, and every verdict follows from its record"]
    return lines


async def _audit(kube: Kube, model: ModelState) -> Audit:
    topics = [topic.name for topic in model.spec.kafka.topics if topic.role == "Decisions"]
    if not topics:
        raise RefusedError(f"spec.kafka.topics of {model.key}: none has the role Decisions, so nothing is recorded; add one")
    at = await read_connection(kube, model)
    values = await heard(at, partial(read, at, topics[0], model.uid))
    mark = model.status.audit
    return chain.check(values, head=(mark.sequence, mark.sha256) if mark is not None else None)
