//! An agent that speaks over either transport. Every answer that it gets is
//! checked for what holds of all of them.

use std::time::Duration;

use futures::SinkExt as _;
use opamp_operator_core::{fleet::AgentRecord, identity::Marker};
use opamp_wire::{
    InstanceUid, Message as _,
    proto::{
        AgentDisconnect, AgentToServer, ConnectionSettingsOffers, OpAmpConnectionSettings,
        ServerErrorResponse, ServerErrorResponseType, ServerToAgent,
    },
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::world::{SOON, Socket, TOKEN, World, answer, hello, links};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    WebSocket,
    Http,
}

/// For tests that show a row over both transports.
pub(crate) const BOTH: [Over; 2] = [Over::WebSocket, Over::Http];

pub(crate) struct Peer<'world> {
    world: &'world World,
    pub(crate) over: Over,
    token: String,
    marker: Option<Marker>,
    socket: Option<Socket>,
    pub(crate) uid: InstanceUid,
    sequence: u64,
    greeted: bool,
}

impl<'world> Peer<'world> {
    /// With the bootstrap token; it has said nothing yet.
    pub(crate) async fn new(world: &'world World, over: Over, uid: u8) -> Self {
        Self::showing(world, over, uid, TOKEN, None).await
    }

    pub(crate) async fn showing(
        world: &'world World,
        over: Over,
        uid: u8,
        token: &str,
        marker: Option<Marker>,
    ) -> Self {
        let mut peer = Self {
            world,
            over,
            token: token.into(),
            marker,
            socket: None,
            uid: InstanceUid::from_bytes([uid; 16]),
            sequence: 0,
            greeted: false,
        };
        if over == Over::WebSocket {
            let (socket, _) = world
                .upgrade_at("/v1/opamp", &peer.headers())
                .await
                .unwrap();
            peer.socket = Some(socket);
        }
        peer
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let marker = self.marker.map(Marker::to_hex);
        let mut headers = vec![("authorization", format!("Bearer {}", self.token))];
        headers.extend(marker.map(|marker| ("opamp-settings-hash", marker)));
        headers
    }

    /// Says this, with its instance UID and the next sequence number.
    pub(crate) async fn say(&mut self, message: AgentToServer) -> ServerToAgent {
        let message = AgentToServer {
            instance_uid: self.uid.to_bytes(),
            sequence_num: self.sequence,
            ..message
        };
        self.sequence += 1;
        self.send(&message).await
    }

    /// Sends this as it is.
    pub(crate) async fn send(&mut self, message: &AgentToServer) -> ServerToAgent {
        let reply = self.bytes(&message.encode_to_vec()).await;
        assert_eq!(reply.instance_uid, message.instance_uid, "M03");
        reply
    }

    /// Sends these bytes as the data of a message.
    pub(crate) async fn bytes(&mut self, data: &[u8]) -> ServerToAgent {
        let reply = match &mut self.socket {
            Some(socket) => {
                let frame = [&[0], data].concat();
                socket.send(Message::Binary(frame.into())).await.unwrap();
                answer(socket).await
            }
            None => self.post(data).await,
        };
        self.check(&reply);
        reply
    }

    async fn post(&self, body: &[u8]) -> ServerToAgent {
        let headers = self.headers();
        let headers = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let headers = format!(
            "Content-Type: application/x-protobuf\r\n{}",
            headers.collect::<String>()
        );
        let (status, body) = self.world.post(&headers, body).await;
        assert_eq!(status, 200);
        ServerToAgent::decode(&body[..]).unwrap()
    }

    /// What comes next: a push, or the answer to a poll.
    pub(crate) async fn news(&mut self) -> ServerToAgent {
        let Some(socket) = &mut self.socket else {
            return self.say(bare()).await;
        };
        let pushed = answer(socket).await;
        self.check(&pushed);
        pushed
    }

    /// Says full state and is offered nothing, nor a message later.
    pub(crate) async fn stays_alone(&mut self, message: AgentToServer) {
        for message in [message, bare(), bare()] {
            let reply = self.say(message).await;
            assert!(reply.connection_settings.is_none(), "{:?}", self.over);
            assert!(reply.error_response.is_none(), "{:?}", self.over);
        }
    }

    /// Takes its leave, and comes back showing something else.
    pub(crate) async fn back_with(mut self, token: &str, marker: Marker) -> Self {
        self.leaves().await;
        Self::showing(
            self.world,
            self.over,
            self.uid.as_bytes()[0],
            token,
            Some(marker),
        )
        .await
    }

    /// Says that it leaves, and waits until that is known.
    pub(crate) async fn leaves(&mut self) {
        let leaving = AgentToServer {
            agent_disconnect: Some(AgentDisconnect {}),
            ..bare()
        };
        let uid = self.uid.as_bytes()[0];
        let before = links(self.world, uid).len();
        let reply = self.say(leaving).await;
        assert!(reply.error_response.is_none(), "M01: {:?}", self.over);
        let gone = async {
            while links(self.world, uid).len() == before {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, gone).await.expect("gone");
    }

    pub(crate) fn socket(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("a WebSocket")
    }

    /// What the server knows of it.
    pub(crate) fn record(&self) -> Option<AgentRecord> {
        self.world.hub.roster.record(self.uid, "default")
    }

    fn check(&mut self, reply: &ServerToAgent) {
        lawful(reply);
        if reply.error_response.is_some() {
            return;
        }
        let expected = self.over == Over::Http || !self.greeted;
        assert!(reply.capabilities != 0 || !expected, "M04: {reply:?}");
        self.greeted = true;
    }
}

/// What holds of everything this server sends.
fn lawful(reply: &ServerToAgent) {
    // M07 and the other things that are not this product's.
    let foreign = reply.command.is_some()
        || reply.remote_config.is_some()
        || reply.packages_available.is_some()
        || reply.custom_capabilities.is_some()
        || reply.custom_message.is_some();
    assert!(!foreign);
    // M04, M05: AcceptsStatus and OffersConnectionSettings, or nothing said.
    assert!([0, 0x21].contains(&reply.capabilities));
    if let Some(error) = &reply.error_response {
        let alone = ServerToAgent {
            instance_uid: reply.instance_uid.clone(),
            error_response: Some(error.clone()),
            ..ServerToAgent::default()
        };
        assert_eq!(*reply, alone, "M06");
        assert!(!error.error_message.is_empty(), "M10");
    }
    if let Some(offers) = &reply.connection_settings {
        assert!(!offers.hash.is_empty());
        let Some(settings) = &offers.opamp else {
            return;
        };
        // H28: what moves an agent travels alone.
        let opamp_only = ConnectionSettingsOffers {
            hash: offers.hash.clone(),
            opamp: offers.opamp.clone(),
            ..ConnectionSettingsOffers::default()
        };
        assert!(*offers == opamp_only);
        let url: url::Url = settings.destination_endpoint.parse().expect("S06");
        assert!(["ws", "wss", "http", "https"].contains(&url.scheme()));
        assert!(settings.heartbeat_interval_seconds >= 1, "S10");
    }
}

/// Full state of an agent that takes settings and says what became of them.
pub(crate) fn full() -> AgentToServer {
    able(0xa101)
}

/// Full state with these capabilities.
pub(crate) fn able(capabilities: u64) -> AgentToServer {
    AgentToServer {
        capabilities,
        ..hello(0)
    }
}

/// Nothing new.
pub(crate) fn bare() -> AgentToServer {
    AgentToServer::default()
}

/// What the server says is wrong with a message.
pub(crate) fn bad_request(reply: &ServerToAgent) -> &ServerErrorResponse {
    let error = reply.error_response.as_ref().expect("an error");
    assert_eq!(error.r#type, i32::from(ServerErrorResponseType::BadRequest));
    error
}

/// The offered `opamp` section.
pub(crate) fn offered(reply: &ServerToAgent) -> &OpAmpConnectionSettings {
    let offers = reply.connection_settings.as_ref().expect("an offer");
    offers.opamp.as_ref().unwrap()
}

/// Lets time pass for the server. What waits for the network is not hurried:
/// the clock runs on afterwards.
pub(crate) async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}
