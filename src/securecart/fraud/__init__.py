"""Fraud: how likely an order about to be paid is fraud, and why.

Owns the tables risk, review and fraud_mark, the model and what it looks at. An `Attempt` and its `Past` become `features`, and
`score` makes a verdict of them with reasons in words. A `Judge` does so for a checkout, which keeps what was said with the order.
The same features are worked out from files of the past (`replay`), to learn from them (`train`) and to measure how good that
is (`evaluate`). Only learning needs scikit-learn. See docs/fraud.md.
"""

from securecart.fraud.asking import ask_past
from securecart.fraud.attempts import attempt_of, microseconds
from securecart.fraud.book import (
    Assessed,
    Judgement,
    Mark,
    Outcome,
    Review,
    Risk,
    Waiting,
    count_waiting,
    decide_review,
    hold,
    is_held,
    keep,
    lapsed,
    mark,
    risk_of,
    waiting,
)
from securecart.fraud.evaluate import Quality, Report, cases, evaluate
from securecart.fraud.features import FEATURE_NAMES, FEATURES, Feature, features
from securecart.fraud.formats import Format, read_rows
from securecart.fraud.identity import address_key, digest_of, email_key, network_key
from securecart.fraud.judging import Judge
from securecart.fraud.learning import learn, rows_of
from securecart.fraud.lessons import lessons, lessons_after, new_accounts, new_accounts_after
from securecart.fraud.model import KINDS, WINDOWS, Amounts, Attempt, Kind, Known, Lesson, Origin, Past, Ring, Row, Seen
from securecart.fraud.replay import Memory, replay
from securecart.fraud.rings import NodeKind, RingLink, RingNode, RingView, neighbours_of, ring_around, rings
from securecart.fraud.scoring import (
    Decision,
    Model,
    ModelKind,
    Reason,
    Training,
    Tree,
    Verdict,
    default_model,
    load_model,
    score,
    with_thresholds,
)
from securecart.fraud.splits import Spread, evaluate_splits
from securecart.fraud.teaching import NewAccount, Taught, forget_all, orders_after, taught, teach
from securecart.fraud.training import Example, train

__all__ = [
    "FEATURES",
    "FEATURE_NAMES",
    "KINDS",
    "WINDOWS",
    "Amounts",
    "Assessed",
    "Attempt",
    "Decision",
    "Example",
    "Feature",
    "Format",
    "Judge",
    "Judgement",
    "Kind",
    "Known",
    "Lesson",
    "Mark",
    "Memory",
    "Model",
    "ModelKind",
    "NewAccount",
    "NodeKind",
    "Origin",
    "Outcome",
    "Past",
    "Quality",
    "Reason",
    "Report",
    "Review",
    "Ring",
    "RingLink",
    "RingNode",
    "RingView",
    "Risk",
    "Row",
    "Seen",
    "Spread",
    "Taught",
    "Training",
    "Tree",
    "Verdict",
    "Waiting",
    "address_key",
    "ask_past",
    "attempt_of",
    "cases",
    "count_waiting",
    "decide_review",
    "default_model",
    "digest_of",
    "email_key",
    "evaluate",
    "evaluate_splits",
    "features",
    "forget_all",
    "hold",
    "is_held",
    "keep",
    "lapsed",
    "learn",
    "lessons",
    "lessons_after",
    "load_model",
    "mark",
    "microseconds",
    "neighbours_of",
    "network_key",
    "new_accounts",
    "new_accounts_after",
    "orders_after",
    "read_rows",
    "replay",
    "ring_around",
    "rings",
    "risk_of",
    "rows_of",
    "score",
    "taught",
    "teach",
    "train",
    "waiting",
    "with_thresholds",
]
