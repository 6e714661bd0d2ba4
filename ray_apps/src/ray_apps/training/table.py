"""A version card's comparison as a table of text: what a team needs to choose."""

from recsys_schemas.version_card import Estimate, Evaluation, VersionCard

METRICS = (("HR@10", "hr@10"), ("HR@20", "hr@20"), ("NDCG@10", "ndcg@10"), ("NDCG@20", "ndcg@20"), ("coverage@20", "coverage@20"))
HEADER = ("model", "train s", "ms/user", "MB", *(title for title, _ in METRICS))


def table(card: VersionCard) -> str:
    """The evaluations, one a line, with 95 % intervals in brackets; then what they were measured on."""
    rows = [HEADER, *(_row(evaluation) for evaluation in card.evaluations)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(_aligned(cell, width, column) for column, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    foot = (
        f"{card.version}: {card.interactions:,} interactions of {card.users:,} users with {card.items:,} items, "
        f"snapshot {card.snapshot.sequence}, seed {card.seed}.\n"
        f"Measured on {card.test_users:,} users, held out: {card.split}. In brackets: 95 % interval. ms/user: one user's 20 items."
    )
    return "\n".join([*(line.rstrip() for line in lines), "", foot])


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _row(evaluation: Evaluation) -> tuple[str, ...]:
    name = evaluation.name if evaluation.role == "baseline" else f"{evaluation.name} ({evaluation.role})"
    seconds = "" if evaluation.role == "champion" else f"{evaluation.train_seconds:.2f}"
    figures = (_estimate(evaluation.metrics[key]) if key in evaluation.metrics else "" for _, key in METRICS)
    return (name, seconds, f"{evaluation.inference_ms_per_user:.3f}", f"{evaluation.size_bytes / 1e6:.2f}", *figures)


def _estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
