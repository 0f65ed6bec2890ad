//! What the server does with bodies of any content: unpacked, decoded, heard by
//! the agent's state machine, answered. Between two of them time passes, the
//! agent comes and goes, and what it should have changes.

use arbitrary::{Result, Unstructured};
use opamp_operator_core::fleet::Transport;
use opamp_wire::{
    AgentCapabilities, Encoding, Message as _, gzip,
    proto::{AgentDescription, AgentToServer, ConnectionSettingsStatuses},
};

use crate::{
    server::{Server, Shown},
    wish::Wished,
    world::{BOOTSTRAP, TOKENS, WORLD},
};

/// Steps of one story; more would only repeat it.
const MAX_STEPS: usize = 96;

/// What the first byte of a step says, from 0 on.
pub(crate) enum Op {
    /// Two bytes: seconds, or, from [`DAYS`] on, days.
    Wait,
    /// One byte of [`SHOWN`] and transport; of some, two texts.
    Connect,
    /// A body, as it is.
    Plain,
    /// A body, compressed on its way.
    Zipped,
    /// A body that is said to be compressed.
    SaidZipped,
    /// One byte of [`says`], and a body that it is put into.
    Says,
    /// One byte of what the agent should have.
    Wish,
    /// One byte: the connection ends, or time is looked at.
    Other,
}

const OPS: [Op; 8] = [
    Op::Wait,
    Op::Connect,
    Op::Plain,
    Op::Zipped,
    Op::SaidZipped,
    Op::Says,
    Op::Wish,
    Op::Other,
];

/// From here on a wait is in days.
pub(crate) const DAYS: u16 = 60_000;
/// Set beside the number of what is shown: the transport is HTTP.
pub(crate) const HTTP: u8 = 0x80;
/// What a connection may show, by number: a bootstrap token of namespace `a`
/// or `b`; all that a revision offers; its certificate alone; a stranger's
/// token; anything.
pub(crate) const SHOWN: [&str; 8] = [
    "bootstrap a",
    "bootstrap b",
    "revision 1",
    "revision 2",
    "certificate 1",
    "token 2",
    "stranger",
    "anything",
];

/// What is put into a message, as bits.
pub(crate) mod says {
    /// It is of this agent, or of another one.
    pub(crate) const UID: u8 = 0b0000_0001;
    pub(crate) const OTHER_UID: u8 = 0b0000_0010;
    /// It takes settings, and reports on them.
    pub(crate) const CAPABLE: u8 = 0b0000_0100;
    /// It is the next in its sequence.
    pub(crate) const NEXT: u8 = 0b0000_1000;
    /// It reports on the last offer.
    pub(crate) const APPLIED: u8 = 0b0001_0000;
    pub(crate) const FAILED: u8 = 0b0010_0000;
    /// The report quotes what was offered.
    pub(crate) const QUOTES: u8 = 0b0100_0000;
    /// It is described.
    pub(crate) const DESCRIBED: u8 = 0b1000_0000;
}

/// The agents that [`says`] knows.
pub(crate) const UIDS: [[u8; 16]; 2] = [[1; 16], [2; 16]];

/// Plays `data` as a story between agents and the server. Whatever is said,
/// nothing panics, every answer is well-formed and bounded, and the laws hold.
pub fn body(data: &[u8]) {
    play(data);
}

/// Plays a story to its end.
pub(crate) fn play(data: &[u8]) -> Server {
    let mut server = Server::new();
    let mut input = Unstructured::new(data);
    for _ in 0..MAX_STEPS {
        // The end of the data is the end of the story.
        if input.is_empty() || step(&mut server, &mut input).is_err() {
            break;
        }
    }
    server
}

fn step(server: &mut Server, input: &mut Unstructured<'_>) -> Result<()> {
    let op = usize::from(input.arbitrary::<u8>()?) % OPS.len();
    match OPS[op] {
        Op::Wait => match input.arbitrary::<u16>()? {
            days @ DAYS.. => server.wait(u64::from(days - DAYS) * 24 * 3600),
            seconds => server.wait(seconds.into()),
        },
        Op::Connect => {
            let shown = input.arbitrary::<u8>()?;
            let transport = if shown & HTTP == 0 {
                Transport::WebSocket
            } else {
                Transport::Http
            };
            server.connect(transport, self::shown(shown & !HTTP, input)?);
        }
        Op::Plain => server.receive(Encoding::Identity, text(input)?),
        Op::Zipped => server.receive(Encoding::Gzip, &gzip(text(input)?)),
        Op::SaidZipped => server.receive(Encoding::Gzip, text(input)?),
        Op::Says => {
            let what = input.arbitrary::<u8>()?;
            let body = message(server, what, text(input)?).encode_to_vec();
            server.receive(Encoding::Identity, &body);
        }
        Op::Wish => server.wish(Wished::from(input.arbitrary::<u8>()?)),
        Op::Other => match input.arbitrary::<u8>()? % 3 {
            0 => server.close(),
            1 => server.tick(),
            _ => server.refresh(),
        },
    }
    Ok(())
}

/// A length in two bytes, and as much of that as there is.
fn text<'a>(input: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let length = usize::from(input.arbitrary::<u16>()?);
    input.bytes(length.min(input.len()))
}

fn shown(number: u8, input: &mut Unstructured<'_>) -> Result<Shown> {
    let bearer = |token: &str| Some(format!("Bearer {token}").into_bytes());
    let token = |token: &str| Shown(Vec::new(), bearer(token), None);
    let leaf = |at: usize| vec![WORLD.clients[at].der.clone()];
    let marker = |at: usize| Server::revision(at).marker().to_hex().into_bytes();
    Ok(match usize::from(number) % SHOWN.len() {
        number @ (0 | 1) => token(BOOTSTRAP[number]),
        number @ (2 | 3) => {
            let at = number - 2;
            Shown(leaf(at), bearer(TOKENS[at]), Some(marker(at)))
        }
        4 => Shown(leaf(0), None, None),
        5 => token(TOKENS[1]),
        6 => token("nobody"),
        _ => {
            let (authorization, marker) = (text(input)?, text(input)?);
            Shown(Vec::new(), Some(authorization.into()), Some(marker.into()))
        }
    })
}

fn message(server: &Server, what: u8, body: &[u8]) -> AgentToServer {
    let set = |bit: u8| what & bit != 0;
    let mut message = AgentToServer::decode(body).unwrap_or_default();
    for (bit, uid) in [says::UID, says::OTHER_UID].into_iter().zip(UIDS) {
        if set(bit) {
            message.instance_uid = uid.to_vec().into();
        }
    }
    if set(says::CAPABLE) {
        message.capabilities |= AgentCapabilities::REPORTS_STATUS
            | AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS
            | AgentCapabilities::REPORTS_CONNECTION_SETTINGS_STATUS;
    }
    if set(says::NEXT) {
        message.sequence_num = server.next_sequence();
    }
    if set(says::DESCRIBED) {
        let described = &mut message.agent_description;
        described.get_or_insert_with(AgentDescription::default);
    }
    let status = match (set(says::APPLIED), set(says::FAILED)) {
        (true, true) => ConnectionSettingsStatuses::Applying,
        (true, false) => ConnectionSettingsStatuses::Applied,
        (false, true) => ConnectionSettingsStatuses::Failed,
        (false, false) => return message,
    };
    let report = message.connection_settings_status.get_or_insert_default();
    report.set_status(status);
    let hash = server.offers().last().cloned();
    report.last_connection_settings_hash = hash.unwrap_or_default().into();
    if set(says::QUOTES) {
        let secrets: Vec<_> = WORLD.secrets().collect();
        report.error_message = format!("tls: {} {}", report.error_message, secrets.join(" "));
    }
    message
}
