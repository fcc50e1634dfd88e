//! The upstream over loopback: each behaviour does what its name says, and every hit is counted.

use super::*;

/// One request over a real socket; the raw answer, or how the connection ended.
async fn call(upstream: &Upstream, path: &str, run: u32, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(upstream.address()).await?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: upstream\r\nredrive-task-id: t\r\nredrive-run: {run}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn hit(upstream: &Upstream, run: u32) -> Hit {
    let key = HitKey {
        task_id: "t".to_owned(),
        run,
    };
    upstream
        .settle()
        .await
        .unwrap()
        .runs
        .get(&key)
        .copied()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_reset_reaches_the_caller_as_a_reset_and_is_counted_once() {
    let upstream = Upstream::start(Duration::ZERO).await.unwrap();
    let error = call(&upstream, "/network/1/h", 1, "{}").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(
        hit(&upstream, 1).await,
        Hit {
            requests: 1,
            accepted: 0,
            retry_after: None
        }
    );

    let answer = call(&upstream, "/network/1/h", 2, "{}").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        hit(&upstream, 2).await,
        Hit {
            requests: 1,
            accepted: 1,
            retry_after: None
        }
    );
}

#[tokio::test]
async fn a_429_carries_retry_after_and_the_count_remembers_it() {
    let upstream = Upstream::start(Duration::ZERO).await.unwrap();
    let answer = call(&upstream, "/rate-limited/1/h", 1, "{}").await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"),
        "{answer}"
    );
    let asked = Duration::from_secs(u64::from(RETRY_AFTER_SECONDS));
    assert_eq!(hit(&upstream, 1).await.retry_after, Some(asked));
}

#[tokio::test]
async fn every_answer_closes_its_connection() {
    let upstream = Upstream::start(Duration::ZERO).await.unwrap();
    for path in [
        "/conflict/1/h",
        "/conflict/0/h",
        "/not-found/always/h",
        "/none",
    ] {
        let answer = call(&upstream, path, 1, "{}").await.unwrap();
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn an_outage_and_a_missing_page_end_with_the_outage_and_the_repair() {
    let upstream = Upstream::start(Duration::from_secs(3_600)).await.unwrap();
    for (path, status) in [("/down/-/h", "503"), ("/not-found/always/h", "404")] {
        let answer = call(&upstream, path, 1, "{}").await.unwrap();
        assert!(answer.contains(status), "{answer}");
    }
    upstream.repair();
    upstream.shared.lock().outage_ends = Some(clock::now());
    for path in ["/down/-/h", "/not-found/always/h"] {
        let answer = call(&upstream, path, 2, "{}").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn a_hang_is_counted_and_ends_when_the_caller_leaves() {
    let upstream = Upstream::start(Duration::ZERO).await.unwrap();
    {
        let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
        let request = "GET /timeout/always/h HTTP/1.1\r\nhost: u\r\nredrive-task-id: t\r\nredrive-run: 1\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    assert_eq!(
        hit(&upstream, 1).await,
        Hit {
            requests: 1,
            accepted: 0,
            retry_after: None
        }
    );
}

#[tokio::test]
async fn a_caller_that_leaves_without_asking_does_not_hold_up_the_count() {
    let upstream = Upstream::start(Duration::ZERO).await.unwrap();
    drop(TcpStream::connect(upstream.address()).await.unwrap());
    assert_eq!(upstream.settle().await.unwrap(), Hits::default());
}

#[tokio::test]
async fn requests_that_name_no_run_are_counted_apart() {
    let upstream = Upstream::start(Duration::ZERO).await.unwrap();
    let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
    stream
        .write_all(b"GET /network/0/h HTTP/1.1\r\nhost: u\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let hits = upstream.settle().await.unwrap();
    assert_eq!((hits.runs.len(), hits.strangers), (0, 1));
}
