use std::net::SocketAddr;

use meshloom_config::connector::{ConnectorSpec, Framing, ReadFormat, TcpSource};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Bench, SourceRun, within};

struct Tcp {
    source: SourceRun,
    address: SocketAddr,
    bench: Bench,
}

async fn start(framing: Framing, format: ReadFormat, max_event: u64) -> Tcp {
    let mut bench = Bench::new(&[]);
    bench.context.max_event = max_event;
    let spec = TcpSource { listen: "127.0.0.1:0".parse().unwrap(), framing, format };
    let source = bench.source(&ConnectorSpec::TcpSource(spec));
    let line = bench.logged("listening on tcp://").await.line;
    let address = line.split("tcp://").nth(1).unwrap().parse().unwrap();
    assert!(!source.replays);
    Tcp { source, address, bench }
}

impl Tcp {
    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Payloads until there are as many as expected, settled.
    async fn payloads(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            let frame = self.source.frame().await.unwrap();
            all.extend(frame.payloads());
            self.source.settle(frame.sequence).await;
        }
        all
    }
}

/// Waits until the other side has closed.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // It may also be reset, when it had not read everything.
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "a tcp client is told nothing");
}

#[tokio::test]
async fn lines_of_several_clients_are_events_and_a_last_line_needs_no_newline() {
    let mut tcp = start(Framing::Lines, ReadFormat::Ndjson, 100).await;
    tcp.source.demand(1000, 1 << 20).await;
    let (mut one, mut two) = (tcp.connect().await, tcp.connect().await);
    one.write_all(b"{\"a\":1}\r\n\n{\"a\"").await.unwrap();
    assert_eq!(tcp.payloads(1).await, ["{\"a\":1}"]);
    two.write_all(b"[2]\n").await.unwrap();
    assert_eq!(tcp.payloads(1).await, ["[2]"]);
    one.write_all(b":3}").await.unwrap();
    one.shutdown().await.unwrap();
    let frame = tcp.source.frame().await.unwrap();
    assert_eq!(frame.payloads(), ["{\"a\":3}"]);
    assert_eq!(frame.batch.content_type(0), Some("application/json"));
    closed(one).await;
}

#[tokio::test]
async fn records_behind_their_lengths_are_events_whatever_bytes_they_hold() {
    let mut tcp = start(Framing::Length, ReadFormat::Text, 100).await;
    tcp.source.demand(1000, 1 << 20).await;
    let mut client = tcp.connect().await;
    client.write_all(b"\0\0\0\x04one\n\0\0\0\x03tw").await.unwrap();
    let frame = tcp.source.frame().await.unwrap();
    assert_eq!((frame.payloads(), frame.batch.content_type(0)), (vec!["one\n".into()], Some("text/plain")));
    client.write_all(b"o\0\0\0\x05fi").await.unwrap();
    assert_eq!(tcp.payloads(1).await, ["two"]);
    // What is not complete when the connection ends is no record, and said so with the client's address.
    let peer = client.local_addr().unwrap().to_string();
    client.shutdown().await.unwrap();
    let line = tcp.bench.logged("the stream ends inside a record").await.line;
    assert!(line.starts_with(&peer) && line.contains("check that `framing`"), "{line}");
    assert!(tcp.source.is_silent().await);
    closed(client).await;
}

#[tokio::test]
async fn a_record_that_is_too_large_closes_its_connection_and_no_other() {
    let mut tcp = start(Framing::Lines, ReadFormat::Text, 10).await;
    tcp.source.demand(1000, 1 << 20).await;
    let mut other = tcp.connect().await;
    let mut client = tcp.connect().await;
    client.write_all(b"good\nnot good at all\n").await.unwrap();
    assert_eq!(tcp.payloads(1).await, ["good"]);
    let line = tcp.bench.logged("EVENT_TOO_LARGE").await.line;
    assert!(line.contains("at byte 5") && line.contains("raise `max_event`"), "{line}");
    closed(client).await;
    other.write_all(b"fine\n").await.unwrap();
    assert_eq!(tcp.payloads(1).await, ["fine"]);
}

#[tokio::test]
async fn nothing_is_read_while_the_pipeline_is_full_and_nothing_is_lost_by_it() {
    let mut tcp = start(Framing::Lines, ReadFormat::Text, 100).await;
    let mut client = tcp.connect().await;
    let writing = tokio::spawn(async move {
        for n in 0..2000 {
            client.write_all(format!("{n}\n").as_bytes()).await.unwrap();
        }
    });
    assert!(tcp.source.is_silent().await);
    tcp.source.demand(3, 1 << 20).await;
    assert_eq!(tcp.payloads(3).await, ["0", "1", "2"]);
    assert!(tcp.source.is_silent().await);
    tcp.source.demand(5000, 1 << 20).await;
    let rest = tcp.payloads(1997).await;
    assert!(rest.into_iter().eq((3..2000).map(|n| n.to_string())));
    within(writing).await.unwrap();
}

#[tokio::test]
async fn on_stop_connections_are_closed() {
    let tcp = start(Framing::Lines, ReadFormat::Text, 100).await;
    let client = tcp.connect().await;
    tcp.source.stop().await;
    tcp.source.end().await.unwrap();
    closed(client).await;
    assert!(TcpStream::connect(tcp.address).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused() {
    let bench = Bench::new(&[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spec =
        TcpSource { listen: taken.local_addr().unwrap(), framing: Framing::Lines, format: ReadFormat::default() };
    let error = bench.refused(&ConnectorSpec::TcpSource(spec));
    assert_eq!(error.code, "LISTEN_FAILED");
}
