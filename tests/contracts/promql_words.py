"""Which labels an expression's series have, and every word in it that no exported metric has: what promtool cannot know."""

from collections.abc import Mapping

import promql_parser as promql

from recsys_schemas.metric_names import ALL, Metric

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in ALL}
_RATES = ("rate", "irate", "increase")
_SERIES = ("_bucket", "_sum", "_count")


class WrongError(AssertionError):
    """An expression that would never fire, never show, or say something else than it seems to."""


def labels_of(expr: str) -> frozenset[str]:
    """Labels of an expression's result.

    Raises:
        WrongError: it names a metric or label that there is none of, reads a counter as it stands, or joins what never matches.
    """
    try:
        return _labels(promql.parse(expr), rated=False)
    except ValueError as error:
        raise WrongError(f"{expr}: {error}") from error


def _labels(node: object, *, rated: bool) -> frozenset[str]:
    match node:
        case promql.VectorSelector():
            return _selected(node, rated=rated)
        case promql.MatrixSelector():
            return _labels(node.vector_selector, rated=rated)
        case promql.Call():
            return _called(node)
        case promql.AggregateExpr():
            return _aggregated(node)
        case promql.BinaryExpr():
            return _joined(node)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(node.expr, rated=rated)
        case _:
            return frozenset()


def _selected(node: promql.VectorSelector, *, rated: bool) -> frozenset[str]:
    name = node.name or ""
    base = next((name.removesuffix(end) for end in _SERIES if name.endswith(end) and name.removesuffix(end) in METRICS), name)
    metric = METRICS.get(base)
    if metric is None:
        raise WrongError(f"{name}: no such metric is exported")
    if (metric.kind == "histogram") != (base != name):
        raise WrongError(f"{name}: a histogram is read by {', '.join(_SERIES)}, and nothing else is")
    if (metric.kind == "gauge") == rated:
        raise WrongError(f"{name} is a {metric.kind}: counters are read by rate or increase, gauges are not")
    labels = frozenset(metric.labels) | ({"le"} if name.endswith("_bucket") else set())
    _known(frozenset(matcher.name for matcher in node.matchers.matchers), labels, name)
    return labels


def _called(node: promql.Call) -> frozenset[str]:
    inner = frozenset[str]().union(*(_labels(each, rated=node.func.name in _RATES) for each in node.args))
    if node.func.name == "histogram_quantile":
        _known(frozenset({"le"}), inner, "histogram_quantile")
        return inner - {"le"}
    return frozenset() if node.func.name == "absent" else inner


def _aggregated(node: promql.AggregateExpr) -> frozenset[str]:
    inner = _labels(node.expr, rated=False)
    by = frozenset(node.modifier.labels) if node.modifier else frozenset[str]()
    _known(by, inner, str(node.op))
    return by


def _joined(node: promql.BinaryExpr) -> frozenset[str]:
    left, right = _labels(node.lhs, rated=False), _labels(node.rhs, rated=False)
    if _plain(node.lhs) or _plain(node.rhs):
        return left | right
    matching = node.modifier.matching if node.modifier else None
    if matching is None:
        if left != right:
            raise WrongError(f"{node.op}: {sorted(left)} on the left and {sorted(right)} on the right never match; say on (...)")
        return left
    _known(frozenset(matching.labels), left & right, str(node.op))
    return left


def _plain(node: object) -> bool:
    """Whether it is a number: those have no labels to match."""
    match node:
        case promql.NumberLiteral():
            return True
        case promql.Call():
            return node.func.name == "time"
        case promql.BinaryExpr():
            return _plain(node.lhs) and _plain(node.rhs)
        case promql.ParenExpr() | promql.UnaryExpr():
            return _plain(node.expr)
        case _:
            return False


def _known(named: frozenset[str], there: frozenset[str], where: str) -> None:
    if unknown := named - there:
        raise WrongError(f"{where}: label {sorted(unknown)} is not among {sorted(there)}")
