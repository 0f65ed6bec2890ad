//! The listening socket.

use std::{io::Result, net::SocketAddr};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tokio::net::TcpListener;

/// What the system may hold of one connection, each way: what a peer does not
/// read, or we do not. Left to itself it takes some MiB of each. Messages that
/// are larger are sent in several parts.
const BUFFER: usize = 64 * 1024;

pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    // Connections inherit them.
    set_socket_send_buffer_size(&listener, BUFFER)?;
    set_socket_recv_buffer_size(&listener, BUFFER)?;
    Ok(listener)
}
