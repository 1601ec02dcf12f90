"""The agent as a process: three hosts with real risk, a real NATS and real sockets; the test is the supervisor."""

import pytest

from arbshard.wire.cluster import EPOCHS_PER_GRANT
from arbshard.wire.messages import Welcome
from support.agent_rig import AgentRig
from support.nats_server import MISSING, PROGRAM

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("cluster"),
    pytest.mark.skipif(PROGRAM is None, reason=MISSING),
    pytest.mark.timeout(110),
]


@pytest.fixture
async def rig(tmp_path):
    made = AgentRig(tmp_path)
    made.start()
    yield made
    made.close()


async def test_one_host_leads_and_a_worker_of_another_is_answered(rig):
    leader = await rig.at_work()
    print(rig.traders, leader.name)
    [(shard, [name])] = rig.traders.items()
    host = rig.hosts[name]
    epoch = host.held[shard] * EPOCHS_PER_GRANT + 1
    reply = await host.hello(epoch)
    assert isinstance(reply, Welcome)
