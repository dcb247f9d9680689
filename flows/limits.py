"""What may run at the same time: one stage per machine on its device, whichever run it belongs to."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from pptsm.orchestration.waiting import waiting_for

DEVICE_LIMIT = "gpu"  # there may be more of it: `prefect gcl update gpu --limit 2`
LEASE_SEC = 60  # a run that is killed gives its place back after so long


@contextmanager
def device_slot() -> Iterator[None]:
    """Wait for the device, and hold it while the context lasts; a script without a server has nobody to wait for.

    A server that is away for a while does not end what runs on the device already.
    """
    if get_current_settings().api.url is None:
        yield
        return
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(DEVICE_LIMIT)
        except ObjectNotFound:
            client.upsert_global_concurrency_limit_by_name(DEVICE_LIMIT, 1)
    slot = concurrency(DEVICE_LIMIT, lease_duration=LEASE_SEC, strict=True, raise_on_lease_renewal_failure=False)
    with ExitStack() as held:
        with waiting_for(f"the device, which another run has (limit `{DEVICE_LIMIT}`)", get_run_logger().info):
            held.enter_context(slot)
        yield
