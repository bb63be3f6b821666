//! The publisher of the e2e tests in Rust: test-publisher ADDRESS COUNT publishes {"n": 1..COUNT, "do": "pass"}, waits until
//! all is acknowledged, and says how many were.

use std::{error::Error, time::Duration};

use meshloom::{Output, Publisher};

/// For everything to be acknowledged, over a restart of the pipeline too.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(count)) = (args.next(), args.next()) else {
        return Err("usage: test-publisher ADDRESS COUNT".into());
    };
    let publisher = Publisher::connect(address)?;
    let mut acknowledgements = Vec::new();
    for n in 1..=count.parse::<u64>()? {
        let event = Output::json(serde_json::json!({ "n": n, "do": "pass" })).key(n.to_string()).kind("test");
        acknowledgements.push(publisher.publish(event).await?);
    }
    publisher.close(PATIENCE).await?;
    let mut acknowledged = 0;
    for acknowledgement in acknowledgements {
        acknowledgement.await?;
        acknowledged += 1;
    }
    println!("acknowledged {acknowledged}");
    Ok(())
}
