"""Logs and counters: structured lines on stderr, metrics for Prometheus."""

from __future__ import annotations

import logging
import sys

import structlog

__all__ = ["configure_logs", "log"]

log: structlog.stdlib.BoundLogger = structlog.get_logger("securecart")


def configure_logs(level: str) -> None:
    """Write one JSON object a line to stderr, from `level` up."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
