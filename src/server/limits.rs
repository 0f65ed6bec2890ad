//! Law 10: every bound of the server, in one place.

use std::time::Duration;

use serde::Deserialize;

/// Bounds of the server; all configurable under `limits`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Open TCP connections on which an agent authenticated, WebSockets
    /// included; those that authenticate beyond it are answered 503.
    pub connections: usize,
    /// Of these, how many of one identity: all agents that prove themselves by
    /// the same token, or the same certificate, are one.
    pub connections_per_identity: usize,
    /// Accepted TCP connections that wait for `handshakes`, or have said
    /// nothing yet; each costs a file descriptor and little memory. At most
    /// three quarters of them from one address. They do not count as
    /// `connections`.
    pub waiting: usize,
    /// Open TCP connections that have begun TLS and on which nobody
    /// authenticated yet; at most a quarter of them from one address at once.
    /// They do not count as `connections`.
    pub handshakes: usize,
    /// Agents that are remembered.
    pub agents: usize,
    /// Instance UIDs that are bound to one identity, where its credentials say
    /// nothing of it (`maxAgents` of a token Secret).
    pub agents_per_identity: usize,
    /// Instance UIDs that one identity may bring in that are not known yet: so
    /// many at once, and as many again over an hour.
    pub new_agents_per_identity: u32,
    /// Messages and requests of one connection: so many at once, and as many
    /// again over ten seconds.
    pub messages_per_connection: u32,
    /// Messages of all agents together: so many at once, and as many again over
    /// ten seconds. An identity that sends more than a quarter of this leaves
    /// half of it to the others.
    pub messages: u32,
    /// Secrets and ConfigMaps that are watched one by one, each of which is a
    /// connection to the Kubernetes API.
    pub watches: usize,
    /// Largest message or body, in bytes, after decompression.
    pub message_bytes: usize,
    /// Largest message to an agent, in bytes, before compression: larger
    /// settings are not sent.
    pub sent_bytes: usize,
    /// Messages larger than 16 KiB, after decompression, that are decoded and
    /// handled at once: in memory they may be a hundred times as large.
    pub large_messages: usize,
    /// Time for TLS, in seconds.
    pub handshake_seconds: u64,
    /// Time to the first message of a WebSocket, for a body, and for a large
    /// message to be handled, in seconds. A connection on which nobody
    /// authenticated ends after this and `handshakeSeconds`.
    pub first_message_seconds: u64,
    /// Time for one write, in seconds: a reader that does not read.
    pub write_seconds: u64,
    /// Silence after which a WebSocket is pinged, in seconds; closed after twice
    /// that. Without a request for as long, an HTTP connection is closed.
    pub idle_seconds: u64,
    /// The least time that an agent which is refused is told to wait, and on a
    /// WebSocket made to, in seconds; at most twice that, at random.
    pub refusal_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            // A fleet that shares a token is one identity, and may be all
            // there is: whoever has several gives each its part.
            connections_per_identity: 20_000,
            waiting: 8192,
            handshakes: 1024,
            agents: 100_000,
            agents_per_identity: 20_000,
            // The same fleet on its first day.
            new_agents_per_identity: 20_000,
            // An agent says a handful of things when it connects and then one a
            // second at most: room for a few hundred agents behind a gateway.
            messages_per_connection: 500,
            // One a second of every connection, the shortest heartbeat.
            messages: 200_000,
            // Four namespaces that are full.
            watches: 2000,
            // The specification's default is 64 MiB; an agent that reports its
            // configuration and its components stays far below this.
            message_bytes: 1024 * 1024,
            // Settings have at most a quarter of it.
            sent_bytes: 1024 * 1024,
            large_messages: 4,
            handshake_seconds: 10,
            first_message_seconds: 30,
            write_seconds: 30,
            idle_seconds: 300,
            refusal_seconds: 30,
        }
    }
}

/// What surrounds the settings in a message, at most: header, instance UIDs,
/// flags, capabilities.
pub(super) const AROUND_SETTINGS: usize = 64;
/// Answers without settings are always sent; none is larger.
const SMALLEST_SENT: usize = 1024;

impl Limits {
    /// The largest settings that may be sent (T06, T09).
    pub(super) fn settings_bytes(&self) -> usize {
        self.sent_bytes.max(SMALLEST_SENT) - AROUND_SETTINGS
    }

    /// See [`Self::handshake_seconds`].
    #[must_use]
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_seconds.max(1))
    }

    /// See [`Self::first_message_seconds`].
    #[must_use]
    pub fn first_message(&self) -> Duration {
        Duration::from_secs(self.first_message_seconds.max(1))
    }

    /// See [`Self::write_seconds`].
    #[must_use]
    pub fn write(&self) -> Duration {
        Duration::from_secs(self.write_seconds.max(1))
    }

    /// See [`Self::idle_seconds`].
    #[must_use]
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds.max(1))
    }

    /// See [`Self::refusal_seconds`].
    #[must_use]
    pub fn refusal(&self) -> Duration {
        Duration::from_secs(self.refusal_seconds.max(1))
    }
}
