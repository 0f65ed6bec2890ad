//! One WebSocket: one task, one timer, one link.

mod throttled;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    response::Response,
};
use bytes::Bytes;
use opamp_operator_core::fleet::Transport;
use opamp_wire::{InstanceUid, Reply, decode_frame, proto::AgentToServer};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{
    connection::Connection,
    exchange::{Attached, Denied, bad_request, exchange, new_uid, refresh, rename, unavailable},
    gateway::Gateway,
    quota::Account,
    shared::Shared,
    standing::Standing,
    subscriptions::Subscriptions,
};

/// Four KiB: the default of 128 KiB would be the whole cost of an idle agent.
const READ_BUFFER: usize = 4096;

/// Answers an upgrade and serves the connection.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    standing: Standing,
) -> Response {
    let limit = shared.limits.message_bytes;
    let tracked = shared.tasks.token();
    let account = shared.quotas.account(&standing.verdict);
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(shared.limits.sent_bytes.max(1024 * 1024))
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| async move {
            let mut session = Session {
                socket,
                standing,
                attached: None,
                gateway: Gateway::default(),
                assigned: None,
                shared_link: false,
                timer: None,
                place: Shared::random(),
                connection,
                account,
                shared,
            };
            let close = session.run().await;
            session.close(close).await;
            // Its place among the connections is held to here.
            drop((session, tracked));
        })
}

/// Why a session ends, as a Close code and text; none if the peer closed.
type Close = Option<(u16, &'static str)>;

/// The answer to an agent that takes its leave.
const GOOD_BYE: Close = Some((close_code::NORMAL, ""));
/// The server ends.
const GOING_AWAY: Close = Some((close_code::AWAY, "the server is going away"));

/// Nothing more is said to whoever shows what is revoked. When it comes back it
/// is refused before the upgrade, and backs off.
const REVOKED: Close = Some((close_code::POLICY, "these credentials are revoked"));

struct Session {
    socket: WebSocket,
    standing: Standing,
    attached: Option<(Attached, Subscriptions)>,
    gateway: Gateway,
    /// The instance UID that we gave to this agent on this link.
    assigned: Option<InstanceUid>,
    /// Several instances spoke here.
    shared_link: bool,
    timer: Option<Duration>,
    /// Among those that are closed when the server ends.
    place: u16,
    connection: Arc<Connection>,
    account: Arc<Account>,
    shared: Arc<Shared>,
}

/// What becomes of a message.
enum Outcome {
    /// It is answered; some end if the session is over after that.
    Answer(Reply, Option<Close>),
    /// Its sender may not speak here.
    Denied(InstanceUid, Denied),
}

/// Whether a refused peer is still listened to: what is too large stays in the
/// way of all that follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hearing {
    Open,
    Blocked,
}

enum Event {
    Message(Option<Result<Message, axum::Error>>),
    Changed,
    Judgement,
    Timer,
    Idle,
    Closing,
}

impl Session {
    async fn run(&mut self) -> Close {
        let begun = Instant::now();
        // Anything may come before, such as pings, but not for ever.
        while self.attached.is_none() {
            // Who got a name may have nothing to say until its next heartbeat.
            let patience = match self.assigned {
                None => self.shared.limits.first_message(),
                Some(_) => self.shared.limits.idle(),
            };
            let message = tokio::select! {
                () = self.shared.closing.cancelled() => return GOING_AWAY,
                () = self.standing.changed() => match self.judge() {
                    Some(end) => return end,
                    None => continue,
                },
                message = timeout_at(begun + patience, self.socket.recv()) => message,
            };
            let Ok(message) = message else {
                return Some((close_code::POLICY, "no message came in time"));
            };
            if let Some(end) = self.message(message).await {
                return end;
            }
        }
        let mut pinged = false;
        // Moved only by what is heard: our own timers and news are no sign of
        // life, and would keep a half-open connection for ever.
        let mut idle = Instant::now() + self.shared.limits.idle();
        loop {
            match self.next(idle).await {
                Event::Message(message) => {
                    pinged = false;
                    idle = Instant::now() + self.shared.limits.idle();
                    if let Some(end) = self.message(message).await {
                        return end;
                    }
                }
                Event::Judgement => {
                    if let Some(end) = self.judge() {
                        return end;
                    }
                    if let Some(end) = self.refresh().await {
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
                    idle = Instant::now() + self.shared.limits.idle();
                    if !self.send(Message::Ping(Bytes::new())).await {
                        return None;
                    }
                }
                Event::Closing => return GOING_AWAY,
            }
        }
    }

    async fn next(&mut self, idle: Instant) -> Event {
        let timer = self.timer.map(|at| self.shared.hub.clock.instant(at));
        let subscriptions = self.attached.as_mut().map(|(_, to)| to);
        let changed = async {
            match subscriptions {
                Some(subscriptions) => subscriptions.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shared.leaves(self.place) => Event::Closing,
            message = self.socket.recv() => Event::Message(message),
            () = changed => Event::Changed,
            () = self.standing.changed() => Event::Judgement,
            () = sleep_until(timer.unwrap_or(idle)), if timer.is_some() => Event::Timer,
            () = sleep_until(idle) => Event::Idle,
        }
    }

    /// Takes in what came; some end if the session is over.
    async fn message(&mut self, message: Option<Result<Message, axum::Error>>) -> Option<Close> {
        if matches!(&message, Some(Ok(message)) if !matches!(message, Message::Close(_)))
            && let Err(empty) = self.connection.message()
        {
            return self.throttled(empty).await;
        }
        let data = match message {
            Some(Ok(Message::Binary(data))) => data,
            Some(Ok(Message::Text(_))) => {
                const TEXT: &str = "OpAMP messages are binary";
                let end = self.reply(&bad_request(None, TEXT)).await;
                return end.or(Some(Some((close_code::UNSUPPORTED, TEXT))));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return None,
            Some(Ok(Message::Close(_))) => {
                // Answered by the library while it is polled on; see `close`.
                return Some(GOOD_BYE);
            }
            Some(Err(error)) if is_too_large(&error) => return Some(self.too_large().await),
            Some(Err(_)) | None => return Some(None),
        };
        if !self.shared.quotas.message(&self.account) {
            return self.overloaded().await;
        }
        let Some(leave) = self.shared.leave(data.len()).await else {
            self.shared.note_busy();
            let wait = self.shared.refusal();
            let reply = unavailable(None, "busy with large messages", wait);
            return self.reply(&reply).await;
        };
        // Nothing of a message outlives this line but its answer: a peer that
        // reads slowly holds no more.
        let outcome = self.handle(data);
        drop(leave);
        match outcome {
            Outcome::Answer(reply, end) => self.reply(&reply).await.or(end),
            Outcome::Denied(uid, denied) => Some(self.denied(uid, denied).await),
        }
    }

    /// Decodes a message and hears it.
    fn handle(&mut self, data: Bytes) -> Outcome {
        let refused = |text: String| Outcome::Answer(bad_request(None, text), None);
        let message = match decode_frame::<AgentToServer>(data) {
            Ok(message) => message,
            Err(error) => return refused(error.to_string()),
        };
        self.shared.metrics.message(Transport::WebSocket);
        let Ok(uid) = InstanceUid::try_from(&message.instance_uid[..]) else {
            return refused("`instance_uid` must be 16 bytes".into());
        };
        let current = self
            .attached
            .as_ref()
            .map(|(attached, _)| attached.agent.lock().uid());
        let other = current.is_some_and(|current| current != uid);
        if let Some(reply) = rename(uid, &message) {
            if other {
                self.meet_another();
            } else {
                self.assigned = reply.new_instance_uid;
            }
            return Outcome::Answer(reply, None);
        }
        if current.is_none() || self.assigned == Some(uid) {
            if let Err(denied) = self.attach(uid) {
                return Outcome::Denied(uid, denied);
            }
        } else if other {
            self.meet_another();
            let reply =
                self.gateway
                    .hear(&self.shared, &self.standing, &self.account, uid, &message);
            return Outcome::Answer(reply, None);
        }
        let Some((attached, subscriptions)) = &mut self.attached else {
            return refused("nobody is attached".into());
        };
        let (agent, id) = (&attached.agent, attached.id);
        let heard = exchange(&self.shared, agent, id, subscriptions, &message);
        let (mut reply, step) = match heard {
            Ok(heard) => heard,
            Err(denied) => return Outcome::Denied(uid, denied),
        };
        if step.rename {
            let new = new_uid();
            self.assigned = Some(new);
            reply.new_instance_uid = Some(new);
        }
        self.timer = step.until;
        let leaves = message.agent_disconnect.is_some();
        Outcome::Answer(reply, leaves.then_some(GOOD_BYE))
    }

    /// From now on the connection is a gateway's, whoever speaks on it later.
    fn meet_another(&mut self) {
        self.shared_link = true;
        if let Some((attached, _)) = &self.attached {
            attached.agent.lock().mark_shared(attached.id);
        }
    }

    fn attach(&mut self, uid: InstanceUid) -> Result<(), Denied> {
        self.attached = None;
        self.assigned = None;
        let hub = &self.shared.hub;
        let verdict = self.standing.for_newcomer(hub)?;
        self.shared
            .quotas
            .takes(&self.account, hub, uid, &verdict.for_uid(uid))?;
        let attached = Attached::websocket(hub, uid, &self.standing.presented, &verdict)?;
        let subscriptions = Subscriptions::new(&hub.book, attached.agent.lock().namespace());
        self.attached = Some((attached, subscriptions));
        if self.shared_link {
            self.meet_another();
        }
        Ok(())
    }

    async fn refresh(&mut self) -> Option<Close> {
        let (attached, subscriptions) = self.attached.as_mut()?;
        let uid = attached.agent.lock().uid();
        let (agent, id) = (&attached.agent, attached.id);
        let step = refresh(&self.shared, agent, id, subscriptions);
        self.timer = step.until;
        let mut reply = Reply::new(uid);
        if step.rename {
            let new = new_uid();
            self.assigned = Some(new);
            reply.new_instance_uid = Some(new);
        } else {
            reply.offer = Some(step.push?);
        }
        self.reply(&reply).await
    }

    /// Judges again what the session rests on; some end if it is revoked.
    fn judge(&mut self) -> Option<Close> {
        let attached = self.attached.as_ref();
        let speaks_for = attached.map(|(attached, _)| (&*attached.agent, attached.id));
        let why = self.standing.judge(&self.shared.hub, speaks_for);
        self.gateway.judge(&self.shared.hub, &self.standing);
        let why = why?;
        let uid = attached.map(|(attached, _)| attached.agent.lock().uid().to_string());
        tracing::warn!(agent = uid, %why, "session ended: revoked");
        Some(REVOKED)
    }

    async fn denied(&mut self, uid: InstanceUid, denied: Denied) -> Close {
        let wait = self.shared.refusal();
        let text = denied.text();
        let (reply, code) = if denied.is_for_now() {
            (unavailable(uid, &text, wait), close_code::AGAIN)
        } else {
            (bad_request(uid, text), close_code::POLICY)
        };
        self.shared.metrics.denied(&denied);
        tracing::info!(agent = %uid, why = %denied, "agent denied");
        self.refuse(&reply, wait, Hearing::Open, (code, "this agent is denied"))
            .await
    }

    async fn too_large(&mut self) -> Close {
        const TEXT: &str = "the message is larger than this server takes";
        self.shared.note_too_large();
        let reply = bad_request(None, TEXT);
        let wait = self.shared.refusal();
        self.refuse(&reply, wait, Hearing::Blocked, (close_code::SIZE, TEXT))
            .await
    }

    /// Answers with an error, keeps the peer waiting, then closes. opamp-go
    /// backs off when it cannot connect, and only then: after a Close it is
    /// back in a millisecond, and of an error it logs the text, whatever
    /// `retry_info` says. A connection that stands and is silent makes it wait.
    async fn refuse(
        &mut self,
        reply: &Reply,
        wait: Duration,
        hearing: Hearing,
        close: (u16, &'static str),
    ) -> Close {
        self.attached = None;
        let until = Instant::now() + wait;
        if let Some(end) = self.reply(reply).await {
            return end;
        }
        loop {
            tokio::select! {
                () = self.shared.closing.cancelled() => return GOING_AWAY,
                () = sleep_until(until) => return Some(close),
                message = self.socket.recv(), if hearing == Hearing::Open => match message {
                    None | Some(Err(_)) => return None,
                    Some(Ok(Message::Close(_))) => return GOOD_BYE,
                    Some(Ok(_)) => {}
                },
            }
        }
    }

    /// Some end if it could not be sent.
    async fn reply(&mut self, reply: &Reply) -> Option<Close> {
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
        self.gateway.clear();
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

/// Too big is 1009 (T05); anything else is a protocol error.
fn is_too_large(error: &axum::Error) -> bool {
    let text = error.to_string();
    text.contains("too long") || text.contains("too big")
}
