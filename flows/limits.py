"""What may run at the same time: one stage a machine on its device, whichever run it belongs to."""

import contextlib
from contextlib import AbstractContextManager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

DEVICE_STAGES = ("teacher", "student", "evaluate")
DEVICE_LIMIT = "gpu"  # there may be more of it: `prefect gcl update gpu --limit 2`
LEASE_SEC = 60  # a run that is killed gives its place back after so long


def ensure_limits() -> None:
    """Create the limit on the server, unless it is there."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(DEVICE_LIMIT)
        except ObjectNotFound:
            client.upsert_global_concurrency_limit_by_name(DEVICE_LIMIT, 1)


def forget_limits() -> None:
    """Remove the limit from a script's own server: whoever held a place there was killed."""
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
        client.delete_global_concurrency_limit_by_name(DEVICE_LIMIT)


def device_slot() -> AbstractContextManager[None]:
    """Wait for the device, and hold it while the context lasts.

    A server that is away for a while does not end what runs on the device already.

    Raises:
        prefect.concurrency.sync.ConcurrencySlotAcquisitionError: there is no such limit.
    """
    return concurrency(DEVICE_LIMIT, lease_duration=LEASE_SEC, strict=True, raise_on_lease_renewal_failure=False)
