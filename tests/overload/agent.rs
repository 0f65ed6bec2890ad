//! Agents without deadlines of their own: how long a test may take as a whole
//! is said once, generously, since client and server share the cores here.

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{SinkExt as _, StreamExt as _};
use opamp_wire::{
    decode_frame, encode_frame,
    proto::{AgentToServer, ServerToAgent},
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, interval},
};
use tokio_tungstenite::tungstenite::Message;

use crate::world::{PROTOBUF, Socket, TOKEN, World, hello};

/// Clients have a thread of their own: with one queue for both ends, the server
/// would wait for its turn behind thousands of them.
pub(crate) struct Elsewhere {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Elsewhere {
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (end, ends) = oneshot::channel::<()>();
        std::thread::spawn(move || runtime.block_on(ends));
        Self { handle, _end: end }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Of the agent that is there all the time.
const STEADY: u8 = 255;

pub(crate) async fn tcp(world: &World, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(world.address).await
}

/// A WebSocket; none if the server cut it off on the way.
pub(crate) async fn socket(world: &World, from: Ipv4Addr) -> Option<Socket> {
    let stream = tcp(world, from).await.ok()?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = world.client.connect(name, stream).await.ok()?;
    World::upgrade_over(stream, Some(TOKEN)).await.ok()
}

/// The status that a gzipped body is answered with.
pub(crate) async fn poll(world: &World, from: Ipv4Addr, body: &[u8]) -> u16 {
    let stream = tcp(world, from).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = world.client.connect(name, stream).await.unwrap();
    let head = format!(
        "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{PROTOBUF}\
         Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    std::str::from_utf8(&status[9..]).unwrap().parse().unwrap()
}

pub(crate) async fn exchange(socket: &mut Socket, message: &AgentToServer) -> ServerToAgent {
    let frame = Message::Binary(encode_frame(message));
    socket.send(frame).await.unwrap();
    match socket.next().await {
        Some(Ok(Message::Binary(data))) => decode_frame(data).unwrap(),
        other => panic!("no answer: {other:?}"),
    }
}

/// An agent that was there before, and goes on.
pub(crate) struct Steady {
    task: JoinHandle<()>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    answers: u32,
    slowest: Duration,
}

impl Steady {
    pub(crate) async fn begin(world: &World) -> Self {
        let mut socket = socket(world, Ipv4Addr::LOCALHOST).await.unwrap();
        exchange(&mut socket, &hello(STEADY)).await;
        let seen = Arc::<Mutex<Seen>>::default();
        let task = tokio::spawn(beats(socket, Arc::clone(&seen)));
        Self { task, seen }
    }

    /// How many answers it got, and how long it waited at most.
    pub(crate) fn end(self) -> (u32, Duration) {
        assert!(!self.task.is_finished(), "it was cut off or refused");
        self.task.abort();
        let seen = self.seen.lock().unwrap();
        assert!(seen.answers > 0, "nobody answered");
        (seen.answers, seen.slowest)
    }
}

async fn beats(mut socket: Socket, seen: Arc<Mutex<Seen>>) {
    let mut beat = interval(Duration::from_millis(100));
    for sequence_num in 1.. {
        beat.tick().await;
        let message = AgentToServer {
            sequence_num,
            agent_description: None,
            ..hello(STEADY)
        };
        let asked = Instant::now();
        let answer = exchange(&mut socket, &message).await;
        assert!(answer.error_response.is_none());
        let mut seen = seen.lock().unwrap();
        seen.answers += 1;
        seen.slowest = seen.slowest.max(asked.elapsed());
    }
}
