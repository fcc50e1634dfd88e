//! A network between clients and the coordinator that a test can spoil: slow, narrow, cut, dead in one
//! direction or in both.
//!
//! Owns a listener and forwards bytes both ways, unseen. Never looks at them. Invariants: bytes stay in
//! order; a cut ends every connection that it is for, both ends; what is held back is delivered when
//! the way is open again, or lost by a cut; a connection that lost bytes is cut when the
//! network is fair again. Chance (jitter) is seeded.

mod pump;
mod weather;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dice::Dice;
use pump::pump;
pub use weather::{Cut, Way, Weather};

/// Whose chance it is where nobody says.
const SEED: u64 = 0x5eed;

/// What is asked of one connection.
#[derive(Clone, Copy, Debug)]
struct State {
    weather: Weather,
    cut: Option<Cut>,
}

/// One connection.
#[derive(Clone, Debug)]
struct Link {
    state: watch::Sender<State>,
    /// It lost something, and cannot be used again.
    spoilt: Arc<AtomicBool>,
}

impl Link {
    fn spoil(&self) {
        self.spoilt.store(true, Ordering::SeqCst);
        // The network may have become fair in this very moment, and not seen it.
        if self.state.borrow().weather == Weather::FAIR {
            self.cut(Cut::Reset);
        }
    }

    fn cut(&self, how: Cut) {
        self.state.send_modify(|state| state.cut = Some(how));
    }
}

/// All connections.
#[derive(Debug)]
struct Links {
    /// For those to come.
    weather: Weather,
    next: u64,
    dice: Dice,
    open: BTreeMap<u64, Link>,
}

/// The network, while this value lives.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    links: Arc<Mutex<Links>>,
    _pumps: JoinSet<()>,
}

impl Proxy {
    /// Forwards a port of its own to the coordinator.
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::seeded(upstream, SEED).await
    }

    /// The same with chance of its own.
    pub async fn seeded(upstream: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let links = Arc::new(Mutex::new(Links {
            weather: Weather::FAIR,
            next: 0,
            dice: Dice::new(seed),
            open: BTreeMap::new(),
        }));
        let mut pumps = JoinSet::new();
        pumps.spawn(accept(listener, upstream, Arc::clone(&links)));
        Self {
            address,
            links,
            _pumps: pumps,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients connect, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens from now on to every connection, and to those to come. Where that is fair weather,
    /// connections that lost something are cut.
    pub fn set(&self, weather: Weather) {
        let mut links = lock(&self.links);
        links.weather = weather;
        for link in links.open.values() {
            link.state.send_modify(|state| state.weather = weather);
            if weather == Weather::FAIR && link.spoilt.load(Ordering::SeqCst) {
                link.cut(Cut::Reset);
            }
        }
    }

    /// What happens from now on to one connection, if there is any; answers whether there was.
    pub fn set_one(&self, dice: &mut Dice, weather: Weather) -> bool {
        let links = lock(&self.links);
        let link = links.any(dice);
        if let Some(link) = link {
            link.state.send_modify(|state| state.weather = weather);
        }
        link.is_some()
    }

    /// Cuts every connection. New ones are let through.
    pub fn cut(&self) {
        self.cut_all(Cut::Closed);
    }

    /// Cuts every connection like this. New ones are let through.
    pub fn cut_all(&self, how: Cut) {
        for link in lock(&self.links).open.values() {
            link.cut(how);
        }
    }

    /// Cuts one connection, if there is any; answers whether there was.
    pub fn cut_one(&self, dice: &mut Dice, how: Cut) -> bool {
        let links = lock(&self.links);
        let link = links.any(dice);
        if let Some(link) = link {
            link.cut(how);
        }
        link.is_some()
    }

    /// From now on nothing comes back from the coordinator; what workers say still arrives.
    pub fn hold_answers(&self) {
        self.set(Weather {
            down: Way::Held,
            ..Weather::FAIR
        });
    }

    /// Cuts every connection, what is held back is lost, and lets new ones through both ways.
    pub fn cut_and_clear(&self) {
        self.cut();
        // Those that are cut keep their weather: nothing slips through on the way out.
        lock(&self.links).weather = Weather::FAIR;
    }

    /// Connections that there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.links).open.len()
    }
}

impl Links {
    fn any(&self, dice: &mut Dice) -> Option<&Link> {
        let count = self.open.len() as u64;
        let index = (count > 0).then(|| dice.between(0, count))?;
        self.open.values().nth(usize::try_from(index).ok()?)
    }

    /// A connection more: its number, what is asked of it, and its chance.
    fn add(&mut self) -> (u64, Link, Dice) {
        let (state, _) = watch::channel(State {
            weather: self.weather,
            cut: None,
        });
        let link = Link {
            state,
            spoilt: Arc::default(),
        };
        let number = self.next;
        self.next += 1;
        self.open.insert(number, link.clone());
        (number, link, Dice::new(self.dice.any()))
    }
}

fn lock(links: &Mutex<Links>) -> MutexGuard<'_, Links> {
    // Nothing is left half done where somebody panicked.
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, upstream: SocketAddr, links: Arc<Mutex<Links>>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _peer)) = listener.accept().await {
        let (number, link, dice) = lock(&links).add();
        let links = Arc::clone(&links);
        connections.spawn(async move {
            if let Ok(far) = TcpStream::connect(upstream).await {
                forward(near, far, link, dice).await;
            }
            lock(&links).open.remove(&number);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards both ways until an end closes, or the connection is cut.
async fn forward(mut near: TcpStream, mut far: TcpStream, link: Link, mut dice: Dice) {
    // Small writes leave at once, as they do without a network in between.
    drop((near.set_nodelay(true), far.set_nodelay(true)));
    let mut asked = link.state.subscribe();
    let chances = (Dice::new(dice.any()), Dice::new(dice.any()));
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let how = tokio::select! {
        biased;
        cut = asked.wait_for(|state| state.cut.is_some()) => cut.ok().and_then(|state| state.cut),
        () = pump((near_read, far_write), &link, |weather| weather.up, chances.0) => None,
        () = pump((far_read, near_write), &link, |weather| weather.down, chances.1) => None,
    };
    if how == Some(Cut::Reset) {
        drop((near.set_zero_linger(), far.set_zero_linger()));
    }
}
