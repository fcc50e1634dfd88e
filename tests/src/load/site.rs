//! A site that worker processes call: each request is a run, each answer a report.
//!
//! Owns the HTTP of both, and what a history is told of them. Knows how the ready-made HTTP worker
//! words its requests and results, from its documents. Never sees what the coordinator said of a
//! report. Invariant: a run is written down as delivered before it is answered, and its report before
//! the answer leaves.

use std::{collections::BTreeMap, io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{Context, Load, Phase, now, producers, tasks, work};
use crate::{
    Dice,
    history::{Delivered, Fact, Origin, Reported, Says, digest},
};

/// Bytes of a request's head.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A site that answers while this value lives.
#[derive(Debug)]
pub struct Site {
    _visits: JoinSet<()>,
}

impl Site {
    /// Opens a site, and adds somebody to the load who enqueues tasks for it.
    pub async fn open(context: &Context, load: &mut Load, dice: &mut Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seed = dice.any();
        load.join(producers::for_site(
            context.clone(),
            load.phase(),
            Dice::new(dice.any()),
            address,
        ));
        let mut visits = JoinSet::new();
        visits.spawn(receive(listener, context.clone(), load.phase(), seed));
        Self { _visits: visits }
    }
}

async fn receive(
    listener: TcpListener,
    context: Context,
    phase: watch::Receiver<Phase>,
    seed: u64,
) {
    let site = listener.local_addr().unwrap();
    let mut visits = JoinSet::new();
    let mut dice = Dice::new(seed);
    while let Ok((stream, _peer)) = listener.accept().await {
        let visit = Visit {
            context: context.clone(),
            phase: phase.clone(),
            dice: Dice::new(dice.any()),
            site,
        };
        visits.spawn(async move {
            // A worker that is gone asks nothing and hears nothing.
            drop(visit.serve(stream).await);
        });
        while visits.try_join_next().is_some() {}
    }
}

/// One request.
struct Visit {
    context: Context,
    phase: watch::Receiver<Phase>,
    dice: Dice,
    site: SocketAddr,
}

impl Visit {
    async fn serve(mut self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (path, headers) = head(&mut stream).await?;
        let length = headers.get("content-length");
        let length = length.map_or(0, |length| length.parse().unwrap());
        assert!(length <= BODY_BYTES_MAX, "{length}");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let run = self.delivered(&path, &headers, &body);
        let mut beat = work::beat();
        let most = if self.dice.chance(50) { 150 } else { 8 };
        for _ in 0..self.dice.between(1, most) {
            beat.tick().await;
        }
        let fails = now(&self.phase) == Phase::Load && self.dice.chance(150);
        let (status, says, answer) = if fails {
            ("500 Internal Server Error", Says::Fail, String::new())
        } else {
            ("200 OK", Says::Complete, format!("{:x}", self.dice.any()))
        };
        // The documents of the worker say what its result is made of.
        let result = match says {
            Says::Complete => {
                format!(r#"{{"status":200,"body":"{answer}","truncated":false,"lossy":false}}"#)
            }
            Says::Fail | Says::Defer | Says::Release => String::new(),
        };
        self.report(&run, says, digest(result.as_bytes()));
        if says == Says::Complete {
            self.context.completed();
        }
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        stream.write_all((head + &answer).as_bytes()).await?;
        stream.shutdown().await
    }

    /// Takes down a run. Its worker may give it back at any time, and does not tell us.
    fn delivered(&self, path: &str, headers: &BTreeMap<String, String>, body: &[u8]) -> Delivered {
        let number = |name: &str| headers[name].parse::<u64>().unwrap();
        let marker = path.trim_start_matches('/').parse().unwrap();
        let payload = tasks::site_payload(self.site, marker, &String::from_utf8_lossy(body));
        let run = Delivered {
            task_id: headers["redrive-task-id"].clone(),
            origin: Origin::Sent(marker),
            digest: digest(payload.as_bytes()),
            run: u32::try_from(number("redrive-run")).unwrap(),
            attempt: u32::try_from(number("redrive-attempt")).unwrap(),
            fence: number("redrive-fence"),
        };
        self.context.remember(&run.task_id);
        self.context.history.note(Fact::Delivered(run.clone()));
        self.report(&run, Says::Release, digest(&[]));
        run
    }

    fn report(&self, run: &Delivered, says: Says, result: u64) {
        self.context.history.note(Fact::ReportInvoked(Reported {
            task_id: run.task_id.clone(),
            run: run.run,
            says,
            result,
        }));
    }
}

/// The path and the headers of a request, their names in lower case.
async fn head(stream: &mut BufReader<TcpStream>) -> io::Result<(String, BTreeMap<String, String>)> {
    let mut lines = stream.take(HEAD_BYTES_MAX).lines();
    let first = lines
        .next_line()
        .await?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let path = first.split(' ').nth(1).ok_or(io::ErrorKind::InvalidData)?;
    let mut headers = BTreeMap::new();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    Ok((path.to_owned(), headers))
}
