"""A backup that was never restored is a hope: restore the newest one, check all of it, keep the certificate.

Owns no table. `prove` does it once; the worker has it done every `prove_hours` by `python -m securecart.proving`, a process of
lowest rank. What a certificate says is `securecart.ops.recovery.certificates`, which metrics and commands read as well.
"""

from securecart.proving.prove import prove

__all__ = ["prove"]
