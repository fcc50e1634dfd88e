//! Claims about requests and answers, against servers on this machine that say one fixed thing.

use redrive_proto::v1::{Failure, report};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
};

use super::*;
use crate::testing::TestTask;

/// A server that answers every connection with the same bytes and hangs up.
struct Server {
    url: String,
    /// What was asked, one text a connection.
    asked: mpsc::Receiver<String>,
    _serving: JoinSet<()>,
}

impl Server {
    /// `None`: it never answers.
    async fn saying(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/path?token=secret",
            listener.local_addr().unwrap()
        );
        let (sender, asked) = mpsc::channel(32);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_complete(&request) {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                sender
                    .send(String::from_utf8(request).unwrap())
                    .await
                    .unwrap();
                match &answer {
                    Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    None => std::future::pending().await,
                }
            }
        });
        Self {
            url,
            asked,
            _serving: serving,
        }
    }
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n\
         {body}"
    )
}

async fn run(options: Options, task: TestTask) -> Outcome {
    task.run(Runner::new(options).unwrap(), &()).await
}

async fn request(payload: Value) -> Outcome {
    run(
        Options::default(),
        TestTask::new("http").json(&payload).unwrap(),
    )
    .await
}

fn failure_of(outcome: &Outcome) -> &Failure {
    outcome
        .failure()
        .unwrap_or_else(|| panic!("no failure: {outcome:?}"))
}

fn response_of(outcome: &Outcome) -> Response {
    let result = outcome
        .result()
        .unwrap_or_else(|| panic!("no result: {outcome:?}"));
    assert_eq!(result.content_type, "application/json");
    serde_json::from_slice(&result.data).unwrap()
}

#[tokio::test]
async fn every_status_is_reported_with_the_class_of_the_table() {
    use FailureClass as Class;
    for (status, class) in [
        (400, Class::Invalid),
        (401, Class::Auth),
        (402, Class::Invalid),
        (403, Class::Auth),
        (404, Class::NotFound),
        (408, Class::Timeout),
        (409, Class::Conflict),
        (410, Class::NotFound),
        (418, Class::Invalid),
        (422, Class::Invalid),
        (423, Class::Conflict),
        (429, Class::RateLimited),
        (500, Class::Internal),
        (501, Class::Internal),
        (502, Class::DependencyDown),
        (503, Class::DependencyDown),
        (504, Class::DependencyDown),
        (505, Class::Internal),
    ] {
        let server = Server::saying(Some(answer(status, "", "the reason"))).await;
        let outcome = request(json!({"url": server.url})).await;
        let failure = failure_of(&outcome);
        assert_eq!(failure.failure_class(), class, "{status}");
        assert_eq!(failure.r#type, format!("http:{status}"));
        assert_eq!(failure.ancestors, [format!("http:{}xx", status / 100)]);
        assert_eq!(failure.stack, "the reason");
        assert!(!failure.message.contains("secret"), "{}", failure.message);
        assert!(matches!(&outcome.outcome, report::Outcome::Fail(fail) if !fail.not_retryable));
    }
}

#[tokio::test]
async fn an_answer_of_success_is_kept_as_the_result() {
    let server = Server::saying(Some(answer(201, "content-type: text/x\r\n", "done"))).await;
    let response = response_of(&request(json!({"url": server.url})).await);
    let content_type = Some("text/x".to_owned());
    let body = "done".to_owned();
    let expected = Response {
        status: 201,
        content_type,
        body,
        truncated: false,
        lossy: false,
    };
    assert_eq!(response, expected);
}

#[tokio::test]
async fn a_long_answer_is_cut_at_its_bound_between_characters_and_marked() {
    let server = Server::saying(Some(answer(200, "", &"\u{e9}".repeat(100)))).await;
    let options = Options {
        body_bytes_max: 9,
        ..Options::default()
    };
    let task = TestTask::new("http")
        .json(&json!({"url": server.url}))
        .unwrap();
    let response = response_of(&run(options, task).await);
    assert_eq!(response.body, "\u{e9}".repeat(4));
    assert!(response.truncated && !response.lossy);
}

#[tokio::test]
async fn an_answer_whose_json_is_too_long_for_a_result_is_cut_further() {
    let server = Server::saying(Some(answer(200, "", &"\u{1}".repeat(65_536)))).await;
    let outcome = request(json!({"url": server.url})).await;
    assert!(outcome.result().unwrap().data.len() <= 262_144);
    let response = response_of(&outcome);
    assert!(response.truncated);
    assert_eq!(response.body.len(), 32_768);
}

#[tokio::test]
async fn the_task_is_named_in_headers_and_its_own_headers_and_body_are_sent() {
    let mut server = Server::saying(Some(answer(200, "", ""))).await;
    let payload = json!({
        "url": server.url,
        "method": "put",
        "headers": {"X-Own": "yes", "Redrive-Run": "forged"},
        "body": {"a": 1},
    });
    let task = TestTask::new("http").json(&payload).unwrap().attempt(3, 5);
    response_of(&run(Options::default(), task).await);
    let asked = server.asked.recv().await.unwrap();
    assert!(
        asked.starts_with("PUT /path?token=secret HTTP/1.1\r\n"),
        "{asked}"
    );
    for expected in [
        "x-own: yes\r\n",
        "content-type: application/json\r\n",
        "redrive-task-id: 01900000-0000-7000-8000-000000000000\r\n",
        "idempotency-key: 01900000-0000-7000-8000-000000000000\r\n",
        "redrive-attempt: 3\r\n",
        "redrive-run: 3\r\n",
        "redrive-fence: 1\r\n",
        "\r\n\r\n{\"a\":1}",
    ] {
        assert!(asked.contains(expected), "{expected:?} is not in {asked}");
    }
    assert!(!asked.contains("forged"));
}

#[tokio::test]
async fn a_text_body_is_sent_as_it_is_by_post() {
    let mut server = Server::saying(Some(answer(200, "", ""))).await;
    request(json!({"url": server.url, "body": "plain", "headers": {"Idempotency-Key": "own"}}))
        .await;
    let asked = server.asked.recv().await.unwrap();
    assert!(
        asked.starts_with("POST ") && asked.ends_with("\r\n\r\nplain"),
        "{asked}"
    );
    assert!(asked.contains("idempotency-key: own\r\n") && !asked.contains("content-type"));
}

#[tokio::test]
async fn a_connection_that_is_refused_is_network() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let outcome = request(json!({"url": url})).await;
    let failure = failure_of(&outcome);
    assert_eq!(
        (failure.failure_class(), failure.r#type.as_str()),
        (FailureClass::Network, "http:connect")
    );
    assert!(
        failure
            .ancestors
            .iter()
            .any(|kind| kind.ends_with("ErrorKind::ConnectionRefused"))
    );
}

#[tokio::test]
async fn a_connection_that_breaks_before_or_within_the_answer_is_network() {
    for said in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
        let server = Server::saying(Some(said.to_owned())).await;
        let outcome = request(json!({"url": server.url})).await;
        let failure = failure_of(&outcome);
        assert_eq!(failure.failure_class(), FailureClass::Network, "{said:?}");
        assert_eq!(failure.r#type, "http:broken", "{said:?}");
        assert!(!failure.message.contains("secret"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_timeout() {
    let server = Server::saying(None).await;
    let options = Options {
        timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let task = TestTask::new("http")
        .json(&json!({"url": server.url}))
        .unwrap();
    let outcome = run(options, task).await;
    let failure = failure_of(&outcome);
    assert_eq!(
        (failure.failure_class(), failure.r#type.as_str()),
        (FailureClass::Timeout, "http:timeout")
    );
}

#[tokio::test]
async fn a_handler_that_is_asked_to_stop_drops_its_request() {
    use crate::context::StopReason;
    let server = Server::saying(None).await;
    let task = |reason| {
        TestTask::new("http")
            .json(&json!({"url": server.url}))
            .unwrap()
            .stopped(reason)
    };
    let outcome = run(Options::default(), task(StopReason::SoftTimeout)).await;
    assert_eq!(failure_of(&outcome).failure_class(), FailureClass::Timeout);
    let outcome = run(Options::default(), task(StopReason::Requested)).await;
    assert!(matches!(outcome.outcome, report::Outcome::Release(_)));
}

#[tokio::test]
async fn redirects_are_followed_up_to_a_limit() {
    let end = Server::saying(Some(answer(200, "", "end"))).await;
    let location = format!("location: {}\r\n", end.url);
    let start = Server::saying(Some(answer(302, &location, ""))).await;
    assert_eq!(
        response_of(&request(json!({"url": start.url})).await).body,
        "end"
    );

    let round = Server::saying(Some(answer(302, "location: /path\r\n", ""))).await;
    let outcome = request(json!({"url": round.url})).await;
    let failure = failure_of(&outcome);
    assert_eq!(
        (failure.failure_class(), failure.r#type.as_str()),
        (FailureClass::Internal, "http:redirect")
    );
}

#[tokio::test]
async fn retry_after_is_passed_on_with_the_failure() {
    let server = Server::saying(Some(answer(429, "retry-after: 17\r\n", ""))).await;
    let outcome = request(json!({"url": server.url})).await;
    let report::Outcome::Fail(fail) = outcome.outcome else {
        panic!("no failure")
    };
    assert_eq!(fail.retry_after.unwrap().seconds, 17);
}

#[test]
fn retry_after_is_read_as_seconds_and_as_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let read = |value: &str| {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("retry-after", value.parse().unwrap());
        retry_after(&headers, now).map(|wait| wait.as_secs())
    };
    assert_eq!(read("120"), Some(120));
    assert_eq!(read(" 0 "), Some(0));
    assert_eq!(read("Sun, 06 Nov 1994 08:49:40 GMT"), Some(3));
    assert_eq!(
        read("Sun, 06 Nov 1994 08:49:30 GMT"),
        Some(0),
        "a date that has passed"
    );
    assert_eq!(read("99999999999999999999999"), Some(3_650 * 24 * 3_600));
    assert_eq!(read("soon"), None);
    assert_eq!(read("-1"), None);
    assert_eq!(read(""), None);
    assert_eq!(retry_after(&reqwest::header::HeaderMap::new(), now), None);
}

#[tokio::test]
async fn a_payload_that_is_no_request_is_final_and_names_the_field() {
    for (payload, field) in [
        (json!("text"), "payload: "),
        (json!({}), "url: is missing"),
        (json!({"url": 1}), "url: is no string"),
        (json!({"url": "/path"}), "url: "),
        (json!({"url": "ftp://host/"}), "url: scheme"),
        (json!({"url": "http://h/", "method": "A B"}), "method: "),
        (json!({"url": "http://h/", "method": 1}), "method: "),
        (json!({"url": "http://h/", "headers": []}), "headers: "),
        (
            json!({"url": "http://h/", "headers": {"a b": "c"}}),
            "headers.a b: ",
        ),
        (
            json!({"url": "http://h/", "headers": {"a": 1}}),
            "headers.a: ",
        ),
        (
            json!({"url": "http://h/", "headers": {"a": "b\nc"}}),
            "headers.a: ",
        ),
        (
            json!({"url": "http://h/", "methd": "GET"}),
            "methd: is not known",
        ),
    ] {
        let outcome = request(payload).await;
        let failure = failure_of(&outcome);
        assert!(
            failure.message.starts_with(field),
            "{field:?}: {}",
            failure.message
        );
        assert_eq!(failure.failure_class(), FailureClass::Invalid);
        assert!(matches!(&outcome.outcome, report::Outcome::Fail(fail) if fail.not_retryable));
    }
}

#[test]
fn options_out_of_bounds_are_refused_by_name() {
    let options = Options {
        body_bytes_max: BODY_BYTES_LIMIT + 1,
        ..Options::default()
    };
    assert!(
        Runner::new(options)
            .unwrap_err()
            .to_string()
            .starts_with("body_bytes_max: ")
    );
    let options = Options {
        timeout: Duration::ZERO,
        ..Options::default()
    };
    assert!(
        Runner::new(options)
            .unwrap_err()
            .to_string()
            .starts_with("timeout: ")
    );
}
