//! opamp-go's client over HTTP.  Over HTTP/1.1 alone; the real one also speaks
//! HTTP/2 where it is offered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use opamp_wire::{AgentToServer, Encoding, Message as _, ServerToAgent, decompress};
use tokio::time::sleep;
use uuid::Uuid;

use super::client::Client;
use super::dial::Dialer;
use super::supervise::Process;

/// How long an idle connection is kept, also by a client that was stopped.
const IDLE: Duration = Duration::from_secs(90);

/// More than any answer of a test.
const LIMIT: usize = 8 * 1024 * 1024;

type Body = StreamBody<stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, std::io::Error>, 1>>>;

/// Waits that grow from half a second to a minute.  Those of opamp-go vary at
/// random by half; these do not.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(500))
    }
}

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 3 / 2).min(Duration::from_mins(1));
        now
    }
}

/// How long a server asks to wait; zero when it does not.
pub(super) fn retry_after(headers: &HeaderMap) -> Duration {
    let value = headers.get(header::RETRY_AFTER);
    let seconds = value.and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// Polls until it is stopped.
pub(super) async fn run(
    client: Arc<Client>,
    process: Arc<Process>,
    dialer: Dialer,
    headers: Vec<(String, String)>,
) {
    let mut line = Line {
        dialer,
        headers,
        connection: None,
    };
    client.greet(true);
    client.wake.notify_one();
    loop {
        let interval = *client.heartbeat.borrow();
        tokio::select! {
            () = client.wake.notified() => {}
            () = sleep(interval) => {
                client.beat();
                continue;
            }
            () = client.stopping.cancelled() => break,
        }
        let Some(message) = client.next() else {
            continue;
        };
        let answer = tokio::select! {
            answer = line.exchange(&client, &process, &message) => answer,
            () = client.stopping.cancelled() => break,
        };
        match answer {
            Ok(answer) => client.receive(&process, answer),
            // It is lost: the next one says nothing of what it said.
            Err(error) => process.note(&format!("a poll failed: {error:#}")),
        }
    }
    client.stopped.notify_one();
    // Nobody says goodbye over HTTP, and nobody closes the connection.
    if let Some(connection) = line.connection {
        process.spawn(async move {
            sleep(IDLE).await;
            drop(connection);
        });
    }
}

/// Where messages are posted.
struct Line {
    dialer: Dialer,
    headers: Vec<(String, String)>,
    connection: Option<SendRequest<Body>>,
}

impl Line {
    /// Posts a message until a server has an answer for it.
    async fn exchange(
        &mut self,
        client: &Client,
        process: &Process,
        message: &AgentToServer,
    ) -> Result<ServerToAgent> {
        let mut backoff = Backoff::default();
        loop {
            let mut wait = backoff.next();
            match self.post(process, message).await {
                Ok(response) => match response.status() {
                    StatusCode::OK => {
                        client.connected.send_replace(true);
                        return read(response).await;
                    }
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                        wait = wait.max(retry_after(response.headers()));
                        response.into_body().collect().await.ok();
                    }
                    status => {
                        response.into_body().collect().await.ok();
                        anyhow::bail!("answered {status}");
                    }
                },
                Err(error) => {
                    self.connection = None;
                    process.note(&format!("cannot connect: {error:#}"));
                }
            }
            sleep(wait).await;
        }
    }

    async fn post(
        &mut self,
        process: &Process,
        message: &AgentToServer,
    ) -> Result<Response<Incoming>> {
        let request = self.request(message)?;
        let mut connection = self.connection.take();
        if let Some(kept) = &mut connection
            && kept.ready().await.is_err()
        {
            connection = None;
        }
        let connection = if let Some(kept) = connection {
            kept
        } else {
            let stream = self.dialer.dial().await?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            process.spawn(async move {
                let _ = connection.await;
            });
            sender
        };
        let connection = self.connection.insert(connection);
        Ok(connection.send_request(request).await?)
    }

    fn request(&self, message: &AgentToServer) -> Result<Request<Body>> {
        let url = &self.dialer.url;
        let host = url.host_str().context("no host")?;
        let host = url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url.path())
            .header(header::HOST, host)
            .header(header::USER_AGENT, "Go-http-client/1.1")
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::ACCEPT_ENCODING, "gzip");
        let uid = Uuid::from_slice(&message.instance_uid)?;
        request = request.header("OpAMP-Instance-UID", uid.to_string());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = [Ok(Frame::data(message.encode_to_vec().into()))];
        // Of unknown length, as opamp-go writes it: it travels in chunks.
        Ok(request.body(StreamBody::new(stream::iter(body)))?)
    }
}

async fn read(response: Response<Incoming>) -> Result<ServerToAgent> {
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    let encoding = encoding.map_or(Ok(""), |encoding| encoding.to_str())?;
    let encoding = Encoding::parse(encoding)?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(ServerToAgent::decode(decompress(encoding, &body, LIMIT)?)?)
}
