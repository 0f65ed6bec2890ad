"""An agent made of the OpAMP client for Python alone.

It polls; what it hears and what fails goes to standard output.  With
--claims-settings it says that it takes connection settings, which the client
lets any program say and none do.
"""

import argparse
import pathlib
import signal

from opentelemetry._opamp.agent import OpAMPAgent
from opentelemetry._opamp.callbacks import OpAMPCallbacks
from opentelemetry._opamp.client import OpAMPClient
from opentelemetry._opamp.proto import opamp_pb2

REPORTS_STATUS = opamp_pb2.AgentCapabilities.AgentCapabilities_ReportsStatus
REPORTS_HEARTBEAT = opamp_pb2.AgentCapabilities.AgentCapabilities_ReportsHeartbeat
ACCEPTS_SETTINGS = (
    opamp_pb2.AgentCapabilities.AgentCapabilities_AcceptsOpAMPConnectionSettings
)


class Tells(OpAMPCallbacks):
    """Writes down when the client is connected and when not."""

    connected = False

    def on_connect(self, agent, client):
        if not self.connected:
            print("connected", flush=True)
        self.connected = True

    def on_connect_failed(self, agent, client, error):
        self.connected = False
        print("no connection:", error, flush=True)


def main():
    parser = argparse.ArgumentParser()
    for name in ("endpoint", "token-file", "ca-file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--heartbeat", type=float, required=True)
    parser.add_argument("--claims-settings", action="store_true")
    given = parser.parse_args()

    token = pathlib.Path(given.token_file).read_text().strip()
    claimed = ACCEPTS_SETTINGS if given.claims_settings else 0
    client = OpAMPClient(
        endpoint=given.endpoint,
        headers={"Authorization": f"Bearer {token}"},
        # The default of one second is too short for a busy machine.
        timeout_millis=10_000,
        agent_identifying_attributes={"service.name": "opamp-client-python"},
        capabilities=REPORTS_STATUS | REPORTS_HEARTBEAT | claimed,
        tls_certificate=given.ca_file,
    )
    # The client makes up its instance UID, and only its messages tell it.
    message = opamp_pb2.AgentToServer.FromString(client.build_heartbeat_message())
    print("agent", message.instance_uid.hex(), flush=True)

    agent = OpAMPAgent(interval=given.heartbeat, callbacks=Tells(), client=client)
    agent.start()
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
