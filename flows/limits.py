"""What may run at the same time: one stage a machine on its device, whichever run it belongs to."""

from contextlib import AbstractContextManager, nullcontext

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

DEVICE_LIMIT = "gpu"  # there may be more of it: `prefect gcl update gpu --limit 2`
LEASE_SEC = 60  # a run that is killed gives its place back after so long


def device_slot() -> AbstractContextManager[None]:
    """Wait for the device, and hold it while the context lasts; a script without a server has nobody to wait for.

    A server that is away for a while does not end what runs on the device already.
    """
    if get_current_settings().api.url is None:
        return nullcontext()
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(DEVICE_LIMIT)
        except ObjectNotFound:
            client.upsert_global_concurrency_limit_by_name(DEVICE_LIMIT, 1)
    return concurrency(DEVICE_LIMIT, lease_duration=LEASE_SEC, strict=True, raise_on_lease_renewal_failure=False)
