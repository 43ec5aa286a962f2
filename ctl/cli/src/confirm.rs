//! Confirmation of an apply or a restore that removes many memberships or HAVIPs.

use std::io::{self, IsTerminal, Write};

use ctl_api::proto::Removals;

use crate::failure::Failure;

/// Removals that are confirmed in any number.
pub const ANY: Removals = Removals { memberships: u64::MAX, havips: u64::MAX };

/// Asks at the terminal, if there is one and standard input is not the file. `refusal` says how many would be removed,
/// up to a semicolon.
///
/// # Errors
/// [`Failure::Unconfirmed`] where nobody says yes.
pub async fn ask(refusal: &str, may_ask: bool) -> Result<(), Failure> {
    let refusal = refusal.split_once(';').map_or(refusal, |(refusal, _)| refusal);
    let refusal = refusal.trim_end_matches(": nothing was changed");
    let can_ask = may_ask && io::stdin().is_terminal() && io::stderr().is_terminal();
    if can_ask && write!(io::stderr(), "{refusal}. Do it? [y/N] ").is_ok() {
        // On a thread of its own: the daemon wants to hear meanwhile that its client is there.
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        });
        if let Ok(Ok(line)) = line.await
            && matches!(line.trim(), "y" | "Y" | "yes")
        {
            return Ok(());
        }
    }
    Err(Failure::Unconfirmed(refusal.to_owned()))
}
