//! Accepted connections: how many there may be, and the switch that cuts them.
//!
//! Owns the sockets' settings and the cap. Invariants: at most [`CONNECTIONS_MAX`] connections are
//! open, further ones are closed at once, which clients see as UNAVAILABLE and try again later;
//! after [`Connections::cut`] every connection fails at its next look at the socket.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections open at once.
pub const CONNECTIONS_MAX: usize = 16_384;
/// How long nothing is accepted after accepting has failed, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    room: Arc<Semaphore>,
    /// Cancelled: every connection fails.
    pub(crate) cut: CancellationToken,
}

impl Connections {
    /// Room for so many connections.
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(count_max)),
            cut: CancellationToken::new(),
        }
    }

    /// The connections that the listener accepts, for ever.
    pub(crate) fn accept(
        self,
        listener: TcpListener,
    ) -> impl Stream<Item = Result<Connection, Infallible>> {
        stream::unfold((self, listener), |(connections, listener)| async move {
            let connection = connections.next(&listener).await;
            Some((Ok(connection), (connections, listener)))
        })
    }

    async fn next(&self, listener: &TcpListener) -> Connection {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _peer)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the gRPC listener cannot accept; trying again");
                    pause().await;
                    continue;
                }
            };
            if let Some(connection) = self.admit(stream) {
                return connection;
            }
        }
    }

    fn admit(&self, stream: TcpStream) -> Option<Connection> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::debug!(limit = CONNECTIONS_MAX, "a connection too many was closed");
            return None;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps delaying small writes");
        }
        let cut = Box::pin(self.cut.clone().cancelled_owned());
        Some(Connection {
            stream,
            cut,
            _permit: permit,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing announces that descriptors are free again"
)]
async fn pause() {
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// A connection that counts against the cap while it lives.
pub(crate) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_connection_too_many_is_closed_and_the_next_is_welcome_when_there_is_room() {
        let (listener, address) = listener().await;
        let mut accepted = Box::pin(Connections::new(1).accept(listener));
        let _first = TcpStream::connect(address).await.unwrap();
        let held = accepted.next().await.unwrap().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut byte = [0];
        tokio::select! {
            _ = accepted.next() => panic!("there is room for one"),
            read = second.read(&mut byte) => assert_eq!(read.unwrap(), 0),
        }
        drop(held);
        let _third = TcpStream::connect(address).await.unwrap();
        assert!(accepted.next().await.is_some());
    }

    #[tokio::test]
    async fn a_cut_wakes_and_fails_whoever_reads() {
        let (listener, address) = listener().await;
        let connections = Connections::new(4);
        let cut = connections.cut.clone();
        let mut accepted = Box::pin(connections.accept(listener));
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut connection = accepted.next().await.unwrap().unwrap();
        client.write_all(b"a").await.unwrap();
        let mut byte = [0];
        connection.read_exact(&mut byte).await.unwrap();
        assert!(connection.stream.nodelay().unwrap());
        let (read, ()) = tokio::join!(connection.read(&mut byte), async { cut.cancel() });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
