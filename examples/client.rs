//! A program that schedules work: one call to submit a job, one to wait for it, one for what it
//! wrote.
//!
//! ```text
//! tidetable serve --engine simulated &
//! cargo run --example client
//! ```

use std::pin::pin;

use futures::TryStreamExt;
use serde_json::json;
use tidetable::client::{Client, DEFAULT_SERVER};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The program chooses the TLS provider, once.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let server = std::env::args().nth(1).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let client = Client::new(&server, std::env::var("TIDETABLE_TOKEN").ok())?;

    let job = json!({"job_name": "busybox:latest", "date": "1s", "command": ["echo", "hello from the tide"]});
    let accepted = client.submit(&job).await?;
    eprintln!("{}", accepted.message);

    let over = client.wait(&accepted.id).await?;
    eprintln!("{}: exit code {:?}, {:?} ms late", over.status, over.exit_code, over.lateness_ms);

    let mut output = pin!(client.logs(&accepted.id, &[], "text/plain").await?);
    while let Some(chunk) = output.try_next().await? {
        eprint!("{}", String::from_utf8_lossy(&chunk));
    }
    Ok(())
}
