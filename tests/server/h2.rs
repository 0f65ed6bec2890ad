//! As much HTTP/2 as a client needs that means no good: it asks once, or not at
//! all, and answers pings for ever.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) struct H2(TlsStream<TcpStream>);

impl H2 {
    pub(crate) async fn begin(mut stream: TlsStream<TcpStream>) -> Self {
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut h2 = Self(stream);
        h2.send(SETTINGS, 0, 0, &[]).await;
        h2
    }

    /// Sends one POST and waits for the head of its answer.
    pub(crate) async fn post(&mut self, authorization: &str, body: &[u8]) {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/v1/opamp"),
            ("content-type", "application/x-protobuf"),
            ("authorization", authorization),
        ] {
            // Literal, not indexed, not compressed.
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        self.send(HEADERS, END_HEADERS, 1, &block).await;
        self.send(DATA, END_STREAM, 1, body).await;
        while self.frame().await.expect("an answer") != HEADERS {}
    }

    /// Answers pings until the server ends the connection.
    pub(crate) async fn answer_pings(mut self) {
        while self.frame().await.is_some() {}
    }

    /// Reads one frame and answers what must be.
    async fn frame(&mut self) -> Option<u8> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        let (kind, flags) = (head[3], head[4]);
        match kind {
            SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
            PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload).await,
            _ => {}
        }
        Some(kind)
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![
            length[1], length[2], length[3], kind, flags, 0, 0, 0, stream,
        ];
        frame.extend(payload);
        // The server may have ended the connection meanwhile.
        let _ = self.0.write_all(&frame).await;
    }
}
