//! How long a peer kept us waiting. Under pressure that decides who must go:
//! never somebody whose bytes are here and whom we were slow to read.

use std::{
    io::{IoSlice, Result},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::connection::Connection;

/// Time spent on waiting for bytes; all of it, so that whoever sends one byte
/// now and then gains nothing.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    before: Duration,
    since: Option<Instant>,
}

impl Waiting {
    pub(super) fn begins(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    pub(super) fn ends(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.before += now - since;
        }
    }

    /// So far; none while it is not the peer that we wait for.
    pub(super) fn so_far(&self, now: Instant) -> Option<Duration> {
        Some(self.before + (now - self.since?))
    }
}

/// Tells the connection when its peer is waited for.
pub(super) struct Heard {
    pub(super) stream: TcpStream,
    pub(super) connection: Arc<Connection>,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            self.connection.waits();
        }
        let read = ready!(read);
        self.connection.hears();
        Poll::Ready(read)
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn law10_a_byte_now_and_then_buys_no_time() {
        let second = Duration::from_secs(1);
        let mut waiting = Waiting::default();
        for _ in 0..5 {
            waiting.begins(Instant::now());
            tokio::time::advance(second).await;
            // Asked again before anything came: still the same wait.
            waiting.begins(Instant::now());
            waiting.ends(Instant::now());
            // Here it is we who take our time.
            tokio::time::advance(second * 60).await;
            assert_eq!(waiting.so_far(Instant::now()), None);
        }
        waiting.begins(Instant::now());
        tokio::time::advance(second).await;
        assert_eq!(waiting.so_far(Instant::now()), Some(second * 6));
    }
}
