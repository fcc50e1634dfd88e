//! `sync`: what the file system gives, without any of our code (a 4 KiB page and an fdatasync), and
//! beside it what the journal makes of it.
//!
//! A zero-filled file has its blocks already, so that a sync writes data alone; a growing one must
//! write what the file system knows of it, too.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Measured, append};
use crate::bench::{
    check,
    figure::{Figure, Latencies, Metric, float},
    meter::Timeline,
    settings::Settings,
    target::own_dir,
};

/// Bytes of one write.
const PAGE_BYTES: usize = 4 * 1024;
/// Pages of the zero-filled file; it is written from its beginning again at its end.
const ZEROED_PAGES: u64 = 4_096;
/// How long each of them is written at most: a slow disk must not take all day, nor a fast one be
/// filled.
const SPAN_MAX: Duration = Duration::from_secs(5);

/// How the file comes to its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zeroed,
    Growing,
}

pub(super) async fn run(settings: &Settings, syncs: u64) -> anyhow::Result<Measured> {
    let dir = own_dir(settings)?;
    let path = dir.path().to_owned();
    let timeline = settings.timeline;
    let figures = tokio::task::spawn_blocking(move || both(&path, syncs, timeline)).await??;
    dir.close()?;
    Ok(Measured {
        figures,
        ..Measured::default()
    })
}

fn both(dir: &Path, syncs: u64, timeline: Timeline) -> anyhow::Result<Vec<Figure>> {
    let zeroed = measure(&dir.join("zeroed"), (Kind::Zeroed, syncs), timeline)?;
    let growing = measure(&dir.join("growing"), (Kind::Growing, syncs), timeline)?;
    let mut figures = vec![
        figure(&zeroed, "zeroed", "4 KiB, zero-filled file")?,
        figure(&growing, "growing", "4 KiB, growing file")?,
    ];
    figures.extend(append::measure(dir, (syncs, SPAN_MAX), timeline)?);
    Ok(figures)
}

/// Writes and syncs, and answers how long each of them took.
fn measure(
    path: &PathBuf,
    (kind, syncs): (Kind, u64),
    timeline: Timeline,
) -> std::io::Result<Vec<u64>> {
    let file = File::create_new(path)?;
    let page = [0x5a; PAGE_BYTES];
    let page_bytes = check::count(PAGE_BYTES);
    if kind == Kind::Zeroed {
        for number in 0..ZEROED_PAGES {
            file.write_all_at(&[0; PAGE_BYTES], number * page_bytes)?;
        }
        file.sync_all()?;
    }
    let mut spans = Vec::new();
    let began = timeline.ns();
    let until = began.saturating_add(crate::bench::meter::nanoseconds(SPAN_MAX));
    for number in 0..syncs {
        let place = match kind {
            Kind::Zeroed => number % ZEROED_PAGES,
            Kind::Growing => number,
        };
        let before = timeline.ns();
        file.write_all_at(&page, place * page_bytes)?;
        file.sync_data()?;
        let after = timeline.ns();
        spans.push(after.saturating_sub(before));
        if after >= until {
            break;
        }
    }
    Ok(spans)
}

fn figure(spans: &[u64], key: &str, title: &str) -> anyhow::Result<Figure> {
    let mut latencies = Latencies::new()?;
    spans.iter().for_each(|span| latencies.record(*span));
    let count = check::count(spans.len());
    let total = spans.iter().sum::<u64>().max(1);
    let rate = float(count) * 1e9 / float(total);
    let shown = [Metric::P50, Metric::P99, Metric::Max];
    Ok(Figure::new(key, title, count)
        .with(Metric::Rate, rate)
        .with_latencies(&latencies, &shown))
}
