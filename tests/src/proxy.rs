//! A network between a worker and the coordinator that a test can cut.
//!
//! Owns a listener and forwards bytes both ways, unseen. Never looks at them. Invariants: a cut ends
//! every connection that there is, both ends; what is held back towards the worker is delivered on
//! release, or lost by a cut.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that are forwarded at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// What the network does.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Grows with every cut.
    cuts: u32,
    /// Bytes from the coordinator are held back.
    holds_answers: bool,
}

/// The network, while this value lives.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    _pumps: JoinSet<()>,
}

impl Proxy {
    /// Forwards a port of its own to the coordinator.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, seen) = watch::channel(Weather::default());
        let mut pumps = JoinSet::new();
        pumps.spawn(accept(listener, upstream, seen));
        Self {
            address,
            weather,
            _pumps: pumps,
        }
    }

    /// Where workers connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where workers connect, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts every connection. New ones are let through.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// From now on nothing comes back from the coordinator; what workers say still arrives.
    pub fn hold_answers(&self) {
        self.weather
            .send_modify(|weather| weather.holds_answers = true);
    }

    /// Cuts every connection, what is held back is lost, and lets new ones through both ways.
    pub fn cut_and_clear(&self) {
        self.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.holds_answers = false;
        });
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _peer)) = listener.accept().await {
        let weather = weather.clone();
        connections.spawn(async move {
            if let Ok(far) = TcpStream::connect(upstream).await {
                forward(near, far, weather).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards both ways until an end closes, or the network is cut.
async fn forward(mut near: TcpStream, mut far: TcpStream, weather: watch::Receiver<Weather>) {
    let mut cut = weather.clone();
    let cuts = cut.borrow_and_update().cuts;
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    tokio::select! {
        biased;
        _cut = cut.wait_for(|weather| weather.cuts != cuts) => {}
        () = pump(near_read, far_write, None) => {}
        () = pump(far_read, near_write, Some(weather)) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: Option<watch::Receiver<Weather>>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let Ok(count @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        if let Some(weather) = &mut weather {
            let clear = weather.wait_for(|weather| !weather.holds_answers).await;
            if clear.is_err() {
                return;
            }
        }
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
