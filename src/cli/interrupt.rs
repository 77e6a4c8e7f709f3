//! Ctrl-C: ends a command with exit code 130. A command that waits for a job asks what is to become
//! of the job, because the job runs on the server and goes on by itself.

use std::io::{BufRead, IsTerminal};
use std::pin::pin;

use futures::future::{self, Either};

use crate::client::Client;

/// Waits until the user presses Ctrl-C. Never returns if the signal cannot be listened to.
pub(super) async fn pressed() {
    if tokio::signal::ctrl_c().await.is_err() {
        future::pending::<()>().await;
    }
}

/// Asks on a terminal whether to stop the job. Elsewhere, and without an answer, the job goes on.
///
/// # Errors
/// Fails if the server does not stop the job.
pub(super) async fn ask(client: &Client, id: &str) -> anyhow::Result<()> {
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if can_ask {
        eprint!("\nStop the job, or leave it running? [s/L] ");
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let again = pin!(pressed());
        if let Either::Left((Ok(Ok(line)), _)) = future::select(answer, again).await
            && matches!(line.trim(), "s" | "S" | "stop")
        {
            let done = client.stop(id, None).await?;
            eprintln!("{}", super::text::clean(&done.message));
            return Ok(());
        }
    }
    eprintln!(
        "the job goes on: `tidetable logs -f {id}` shows its output, `tidetable stop {id}` ends it"
    );
    Ok(())
}
