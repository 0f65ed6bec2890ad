//! opamp-go's client over WebSocket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderName, HeaderValue, Request, header};
use opamp_wire::{decode_frame, encode_frame};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, handshake::client::generate_key};

use super::client::Client;
use super::dial::{Dialer, Stream};
use super::poll::{Backoff, retry_after};
use super::supervise::Process;

/// How long it waits for the server's close frame after its own.
const CLOSE: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<Box<dyn Stream>>;

/// Connects again and again until it is stopped.
pub(super) async fn run(
    client: Arc<Client>,
    process: Arc<Process>,
    dialer: Dialer,
    headers: Vec<(String, String)>,
) {
    let mut first = true;
    while let Some(mut socket) = connect(&client, &process, &dialer, &headers).await {
        if !client.stopping.is_cancelled() {
            client.greet(std::mem::take(&mut first));
            // However it ends: who is not stopped connects again.
            let _ = talk(&client, &process, &mut socket).await;
            process.note("is disconnected");
        }
        let _ = timeout(CLOSE, socket.get_mut().shutdown()).await;
        if client.stopping.is_cancelled() {
            break;
        }
    }
    client.stopped.notify_one();
}

/// Tries until it is let in; none when it is stopped.
async fn connect(
    client: &Client,
    process: &Process,
    dialer: &Dialer,
    headers: &[(String, String)],
) -> Option<Socket> {
    let mut backoff = Backoff::default();
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = sleep(wait) => {}
            () = client.stopping.cancelled() => return None,
        }
        wait = backoff.next();
        let attempt = tokio::select! {
            attempt = upgrade(dialer, headers) => attempt,
            () = client.stopping.cancelled() => return None,
        };
        match attempt {
            Ok(Ok(socket)) => {
                client.connected.send_replace(true);
                process.note("is connected");
                return Some(socket);
            }
            Ok(Err(asked)) => {
                process.note(&format!("is refused for {asked:?}"));
                wait = wait.max(asked);
            }
            Err(error) => process.note(&format!("cannot connect: {error:#}")),
        }
    }
}

/// A refusal is how long the server asks to wait.
async fn upgrade(
    dialer: &Dialer,
    headers: &[(String, String)],
) -> Result<Result<Socket, Duration>> {
    let mut request = Request::builder().uri(dialer.url.as_str());
    let host = match (dialer.url.host_str(), dialer.url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => bail!("no host"),
    };
    request = request
        .header(header::HOST, host)
        .header(header::USER_AGENT, "Go-http-client/1.1")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key());
    for (name, value) in headers {
        // A name that is none is left out without a word.
        if let Ok(name) = name.parse::<HeaderName>() {
            request = request.header(name, HeaderValue::from_str(value)?);
        }
    }
    let stream = dialer.dial().await?;
    match tokio_tungstenite::client_async(request.body(())?, stream).await {
        Ok((socket, _)) => Ok(Ok(socket)),
        Err(Error::Http(refusal)) => Ok(Err(retry_after(refusal.headers()))),
        Err(error) => Err(error.into()),
    }
}

/// One connection, from its first message to its end.
async fn talk(client: &Client, process: &Arc<Process>, socket: &mut Socket) -> Result<()> {
    let mut heartbeat = client.heartbeat.subscribe();
    send(client, socket).await?;
    loop {
        let interval = *heartbeat.borrow_and_update();
        tokio::select! {
            () = client.wake.notified() => send(client, socket).await?,
            // Counted from the last thing that happened.
            () = sleep(interval), if !interval.is_zero() => client.beat(),
            changed = heartbeat.changed() => changed?,
            more = receive(client, process, socket) => if !more? {
                return Ok(());
            },
            () = client.stopping.cancelled() => break,
        }
    }
    send(client, socket).await?;
    let normal = CloseFrame {
        code: CloseCode::Normal,
        reason: "Normal closure".into(),
    };
    socket.send(Message::Close(Some(normal))).await?;
    // What the server still says is taken in, also another offer.
    let goodbye = async {
        while receive(client, process, socket).await? {}
        anyhow::Ok(())
    };
    timeout(CLOSE, goodbye).await?
}

async fn send(client: &Client, socket: &mut Socket) -> Result<()> {
    if let Some(message) = client.next() {
        socket.send(Message::Binary(encode_frame(&message))).await?;
    }
    Ok(())
}

/// False at the end of the connection.
async fn receive(client: &Client, process: &Arc<Process>, socket: &mut Socket) -> Result<bool> {
    match socket.next().await {
        Some(Ok(Message::Binary(bytes))) => {
            client.receive(process, decode_frame(bytes)?);
            Ok(true)
        }
        Some(Ok(Message::Close(_))) => {
            // Answers it, unless this was the answer.
            let _ = socket.flush().await;
            Ok(false)
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(true),
        Some(Ok(_)) => bail!("no binary message"),
        Some(Err(error)) => Err(error.into()),
        None => Ok(false),
    }
}
