//! One WebSocket: one task, one timer, one link.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    response::Response,
};
use bytes::Bytes;
use opamp_operator_core::{
    catalog::{Candidates, Target},
    fleet::Step,
    identity::{Presented, Verdict},
};
use opamp_wire::{InstanceUid, Reply, ServerCapabilities, decode_frame, proto::AgentToServer};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    exchange::{Attached, Denied, bad_request, exchange, refresh},
    shared::Shared,
};

/// Four KiB: the default of 128 KiB would be the whole cost of an idle agent.
const READ_BUFFER: usize = 4096;
/// `AgentToServerFlags_RequestInstanceUid`.
const REQUEST_INSTANCE_UID: u64 = 1;

/// Answers an upgrade and serves the connection.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    shared: Arc<Shared>,
    presented: Presented,
    verdict: Verdict,
) -> Response {
    let limit = shared.limits.message_bytes;
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(limit.max(1024 * 1024))
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| async move {
            let tracked = shared.tasks.token();
            let mut session = Session {
                socket,
                presented,
                verdict,
                attached: None,
                candidates: None,
                target: None,
                assigned: None,
                timer: None,
                shared,
            };
            let close = session.run().await;
            session.close(close).await;
            drop(tracked);
        })
}

/// Why a session ends, as a Close code and text; none if the peer closed.
type Close = Option<(u16, &'static str)>;

/// The answer to an agent that takes its leave.
const GOOD_BYE: Close = Some((close_code::NORMAL, ""));

struct Session {
    socket: WebSocket,
    presented: Presented,
    verdict: Verdict,
    attached: Option<Attached>,
    candidates: Option<watch::Receiver<Option<Arc<Candidates>>>>,
    target: Option<watch::Receiver<Option<Arc<Target>>>>,
    /// The instance UID that we gave to this agent on this link.
    assigned: Option<InstanceUid>,
    timer: Option<Duration>,
    shared: Arc<Shared>,
}

enum Event {
    Message(Option<Result<Message, axum::Error>>),
    Changed,
    Timer,
    Idle,
    Closing,
}

impl Session {
    async fn run(&mut self) -> Close {
        let first = timeout(self.shared.limits.first_message(), self.socket.recv());
        let Ok(first) = first.await else {
            return Some((close_code::POLICY, "no message came in time"));
        };
        if let Some(end) = self.message(first).await {
            return end;
        }
        let mut pinged = false;
        loop {
            match self.next().await {
                Event::Message(message) => {
                    pinged = false;
                    if let Some(end) = self.message(message).await {
                        return end;
                    }
                }
                Event::Changed | Event::Timer => {
                    if let Some(end) = self.refresh().await {
                        return end;
                    }
                }
                Event::Idle if pinged => return Some((close_code::AWAY, "no answer to a ping")),
                Event::Idle => {
                    pinged = true;
                    if !self.send(Message::Ping(Bytes::new())).await {
                        return None;
                    }
                }
                Event::Closing => return Some((close_code::AWAY, "the server is going away")),
            }
        }
    }

    async fn next(&mut self) -> Event {
        let timer = self.timer.map(|at| self.shared.hub.clock.instant(at));
        let idle = Instant::now() + self.shared.limits.idle();
        tokio::select! {
            () = self.shared.closing.cancelled() => Event::Closing,
            message = self.socket.recv() => Event::Message(message),
            () = changed(self.candidates.as_mut()) => Event::Changed,
            () = changed(self.target.as_mut()) => Event::Changed,
            () = sleep_until(timer.unwrap_or(idle)), if timer.is_some() => Event::Timer,
            () = sleep_until(idle) => Event::Idle,
        }
    }

    /// Takes in what came; some end if the session is over.
    async fn message(&mut self, message: Option<Result<Message, axum::Error>>) -> Option<Close> {
        let data = match message {
            None => return Some(None),
            Some(Ok(Message::Binary(data))) => data,
            Some(Ok(Message::Text(_))) => {
                return Some(Some((close_code::UNSUPPORTED, "OpAMP messages are binary")));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return None,
            Some(Ok(Message::Close(_))) => {
                // Answered by the library while it is polled on; see `close`.
                return Some(GOOD_BYE);
            }
            Some(Err(error)) => return Some(error_close(&error)),
        };
        let message = match decode_frame::<AgentToServer>(data) {
            Ok(message) => message,
            Err(error) => return self.reject(InstanceUid::NIL, error.to_string()).await,
        };
        let Ok(uid) = InstanceUid::try_from(&message.instance_uid[..]) else {
            return self
                .reject(InstanceUid::NIL, "`instance_uid` must be 16 bytes")
                .await;
        };
        let current = self
            .attached
            .as_ref()
            .map(|attached| attached.agent.lock().uid());
        if current.is_none() || self.assigned == Some(uid) {
            if let Err(denied) = self.attach(uid) {
                return Some(Some(denial(denied)));
            }
        } else if current != Some(uid) {
            return self.gateway(uid).await;
        }
        let attached = self.attached.as_ref()?;
        let (mut reply, step) = exchange(&self.shared.hub, &attached.agent, attached.id, &message);
        if message.flags & REQUEST_INSTANCE_UID != 0 {
            let new = InstanceUid::from(*uuid::Uuid::now_v7().as_bytes());
            self.assigned = Some(new);
            reply.new_instance_uid = Some(new);
        }
        self.follow(&step);
        if !self.send(Message::Binary(reply.to_frame())).await {
            return Some(None);
        }
        message.agent_disconnect.is_some().then_some(GOOD_BYE)
    }

    /// A second instance on one connection: a gateway. It is answered; nobody
    /// on this connection is offered anything, since what the connection shows
    /// is the gateway's (agents.md section 4).
    async fn gateway(&mut self, uid: InstanceUid) -> Option<Close> {
        if let Some(attached) = &self.attached {
            attached.agent.lock().mark_shared(attached.id);
        }
        let mut reply = Reply::new(uid);
        reply.capabilities = Some(ServerCapabilities::OURS);
        (!self.send(Message::Binary(reply.to_frame())).await).then_some(None)
    }

    fn attach(&mut self, uid: InstanceUid) -> Result<(), Denied> {
        self.attached = None;
        self.assigned = None;
        let attached = Attached::websocket(&self.shared.hub, uid, &self.presented, &self.verdict)?;
        let namespace = attached.agent.lock().namespace().to_owned();
        let mut candidates = self.shared.hub.book.candidates(&namespace);
        candidates.mark_unchanged();
        self.candidates = Some(candidates);
        self.attached = Some(attached);
        Ok(())
    }

    async fn refresh(&mut self) -> Option<Close> {
        let attached = self.attached.as_ref()?;
        self.timer = None;
        let uid = attached.agent.lock().uid();
        let step = refresh(&self.shared.hub, &attached.agent, attached.id);
        self.follow(&step);
        let offer = step.push?;
        let mut push = Reply::new(uid);
        push.offer = Some(offer);
        (!self.send(Message::Binary(push.to_frame())).await).then_some(None)
    }

    /// Listens to the target of the profile that applies now.
    fn follow(&mut self, step: &Step) {
        self.timer = step.until;
        let profile = self
            .attached
            .as_ref()
            .and_then(|a| a.agent.lock().profile().cloned());
        self.target = profile.map(|profile| {
            let mut target = self.shared.hub.book.target(&profile);
            target.mark_unchanged();
            target
        });
    }

    async fn reject(&mut self, uid: InstanceUid, message: impl Into<String>) -> Option<Close> {
        let reply = bad_request(uid, message);
        (!self.send(Message::Binary(reply.to_frame())).await).then_some(None)
    }

    async fn send(&mut self, message: Message) -> bool {
        let sent = timeout(self.shared.limits.write(), self.socket.send(message)).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Ends the session: our Close frame, if it is we who end it, then the
    /// peer's answer, both bounded. An agent's Close is answered at once (C04).
    async fn close(&mut self, close: Close) {
        self.attached = None;
        let frame = close.map(|(code, reason)| CloseFrame {
            code,
            reason: reason.into(),
        });
        if !self.send(Message::Close(frame)).await {
            return;
        }
        let drain = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _ = timeout(Duration::from_secs(5), drain).await;
    }
}

/// Waits for a change; for ever if there is nothing to wait for.
async fn changed<T>(receiver: Option<&mut watch::Receiver<T>>) {
    let alive = match receiver {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    };
    if !alive {
        std::future::pending::<()>().await;
    }
}

fn denial(denied: Denied) -> (u16, &'static str) {
    match denied {
        Denied::Foreign => (
            close_code::POLICY,
            "this instance UID belongs to another identity",
        ),
        Denied::Full => (close_code::AGAIN, "the server takes no more agents"),
    }
}

/// Too big is 1009 (T05); anything else is a protocol error.
fn error_close(error: &axum::Error) -> Close {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too big") {
        Some((
            close_code::SIZE,
            "the message is larger than this server takes",
        ))
    } else {
        None
    }
}
