use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use meshloom_config::{
    Template,
    connector::{ConnectorSpec, Webhook},
};
use meshloom_core::exchange::Action;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use crate::support::{Bench, batch};

/// A server that answers requests from a script, and remembers them.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

async fn serve(answers: &'static [&'static str]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let server = Server { address, seen: seen.clone(), connections: connections.clone() };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            *connections.lock().unwrap() += 1;
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some(request) = read_request(&mut stream).await {
                    let count = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(request);
                        seen.len()
                    };
                    let answer = answers[(count - 1) % answers.len()];
                    if answer.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    server
}

async fn read_request(stream: &mut BufReader<tokio::net::TcpStream>) -> Option<String> {
    let mut text = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        text += &line;
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Some(text + &String::from_utf8(body).unwrap())
}

fn webhook(address: SocketAddr) -> Webhook {
    Webhook {
        url: format!("http://{address}/hook?x=1"),
        method: "POST".into(),
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn an_event_is_a_request_with_its_uid_and_connections_are_used_again() {
    let server = serve(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]).await;
    let mut bench = Bench::new(&["up"]);
    bench.context.concurrency = Some(1);
    let spec = Webhook {
        method: "PUT".into(),
        headers: vec![("x-level".into(), Template::compile("level {{ data.level }}").unwrap())],
        body: Some(Template::compile("{\"text\": \"{{ data.level }}!\"}").unwrap()),
        ..webhook(server.address)
    };
    let mut node = bench.node(&ConnectorSpec::Webhook(spec));
    let answer = node.ask(1, &batch(&["{\"level\": \"high\"}", "{\"level\": \"low\"}"])).await;
    assert_eq!((answer.consumed, answer.failures.len()), (2, 0), "{answer:?}");
    node.ask(2, &batch(&["{\"level\": 3}"])).await;
    let seen = server.seen.lock().unwrap().clone();
    assert!(seen[0].starts_with("PUT /hook?x=1 HTTP/1.1\r\n"), "{}", seen[0]);
    for words in [
        "idempotency-key: 00000000000000000000000000000001\r\n",
        "x-level: level high\r\n",
        "content-type: application/json\r\n",
    ] {
        assert!(seen[0].contains(words), "{}", seen[0]);
    }
    assert!(seen[0].ends_with("\r\n\r\n{\"text\": \"high!\"}"), "{}", seen[0]);
    assert!(seen[2].ends_with("{\"text\": \"3!\"}"));
    assert_eq!(*server.connections.lock().unwrap(), 1);
    node.finish().await.unwrap();
}

#[tokio::test]
async fn answers_decide_between_retry_and_reject() {
    let server = serve(&[
        "HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\nno such thing",
        "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ])
    .await;
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&ConnectorSpec::Webhook(webhook(server.address)));
    let answer = node.ask(1, &batch(&["1", "2", "3", "4", "5"])).await;
    let verdicts: Vec<_> = answer.failures.iter().map(|f| (f.index, f.action, &*f.reason)).collect();
    assert_eq!(
        verdicts,
        [
            (Some(0), Action::Retry, "HTTP_STATUS"),
            (Some(1), Action::Retry, "HTTP_STATUS"),
            (Some(2), Action::Reject, "HTTP_STATUS"),
            (Some(3), Action::Reject, "HTTP_REDIRECT"),
        ]
    );
    assert_eq!(answer.consumed, 1);
    assert_eq!(answer.failures[0].retry_after, Some(Duration::from_secs(7)));
    assert_eq!(answer.failures[1].retry_after, None);
    assert!(answer.failures[2].message.contains("404") && answer.failures[2].message.contains("no such thing"));
}

#[tokio::test]
async fn no_connection_and_no_answer_are_retries() {
    let bench = Bench::new(&["up"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut node = bench.node(&ConnectorSpec::Webhook(webhook(nobody)));
    let answer = node.ask(1, &batch(&["1"])).await;
    assert_eq!((answer.reason(), answer.failures[0].index), ("CONNECTION_FAILED", Some(0)));
    assert_eq!(answer.failures[0].action, Action::Retry);
    let server = serve(&[""]).await;
    let spec = Webhook { timeout: Duration::from_millis(200), ..webhook(server.address) };
    let mut node = bench.node(&ConnectorSpec::Webhook(spec));
    let answer = node.ask(1, &batch(&["1"])).await;
    assert_eq!((answer.reason(), answer.failures[0].index), ("TIMEOUT", Some(0)));
}

#[tokio::test]
async fn a_work_can_be_taken_back_while_it_waits() {
    let server = serve(&[""]).await;
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&ConnectorSpec::Webhook(webhook(server.address)));
    node.send(1, &batch(&["1"])).await;
    crate::support::until("the request is there", || !server.seen.lock().unwrap().is_empty()).await;
    node.cancel(1).await;
    assert_eq!(node.answer(1).await.reason(), "CANCELLED");
    node.finish().await.unwrap();
}

#[tokio::test]
async fn a_template_that_does_not_fit_the_event_rejects_it() {
    let server = serve(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
    let bench = Bench::new(&["up"]);
    let body = Some(Template::compile("{{ data.missing }}").unwrap());
    let mut node = bench.node(&ConnectorSpec::Webhook(Webhook { body, ..webhook(server.address) }));
    let answer = node.ask(1, &batch(&["{}"])).await;
    assert_eq!((answer.reason(), answer.failures[0].action), ("TEMPLATE_FAILED", Action::Reject));
    assert!(answer.message().contains("data.missing"), "{}", answer.message());
    let url = "https://127.0.0.1:1/".to_owned();
    let tls = Webhook { url, ..webhook(server.address) };
    let mut node = bench.node(&ConnectorSpec::Webhook(tls));
    assert_eq!(node.ask(1, &batch(&["1"])).await.reason(), "CONNECTION_FAILED");
}
